/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Printing a document as YAML, in the block style of kubectl. */
#include <cjson/cJSON.h>

#include "base/buf.h"

/*
 * Append @json. Nesting deeper than cJSON parses is not printed.
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int yaml_print(const cJSON *json, struct buf *text);
