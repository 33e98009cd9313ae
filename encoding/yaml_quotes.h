/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* \' in double quotes, which kubectl accepts. See yaml_quotes.c. Thread: any. */
#include "base/util.h"

/*
 * Copy YAML text with ' for each \' in double quotes. The columns of what follows it move.
 * Return: 0, and *ret_text is the caller's with *ret_len bytes, both unchanged if @text has no \';
 * -ENOMEM.
 */
int yaml_quotes_accept(const char *text, size_t len, char **ret_text, size_t *ret_len);
