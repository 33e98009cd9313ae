/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* -o of the commands that print text or JSON. */
#include "base/error.h"

/* What it takes, for completion. NULL-terminated. */
extern const char *const output_words[];

/* Return: 0; -EINVAL with @e unless @value is text or json. */
int output_parse(const char *value, bool *ret_as_json, struct error *e);
