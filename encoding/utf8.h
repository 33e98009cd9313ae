/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Well-formed UTF-8. Source: RFC 3629, section 4. Thread: any. */
#include "base/util.h"

#define UTF8_MAX_BYTES 4u /* of a character */

/* Return: the bytes of the character at @text, which has @len bytes; 0 if there is none. */
size_t utf8_length(const char *text, size_t len);

/* Whether all of @text is UTF-8. A NUL is a character like others. */
bool utf8_is_valid(const char *text, size_t len);

/*
 * Read the character at @text, which is NUL-terminated.
 * Return: its bytes, 1 for a NUL; 0 if there is none, and *ret_c is the first byte.
 */
size_t utf8_decode(const char *text, uint32_t *ret_c);
