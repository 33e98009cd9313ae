/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/label.h"

#define NAME_MAX_BYTES   63u  /* of a key without its prefix, and of a value */
#define PREFIX_MAX_BYTES 253u /* of a key */

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alphanumeric(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* Letters, digits and -_. between letters or digits. */
static bool is_name(const char *text, size_t len)
{
    if (len == 0 || len > NAME_MAX_BYTES || !is_alphanumeric(text[0]) ||
        !is_alphanumeric(text[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alphanumeric(text[i]) && strchr("-_.", text[i]) == NULL)
            return false;
    return true;
}

/* A DNS-1123 subdomain. */
static bool is_prefix(const char *text, size_t len)
{
    char before = '.';

    if (len == 0 || len > PREFIX_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool is_edge = before == '.' || i + 1 == len || text[i + 1] == '.';

        if (text[i] == '.' ? !is_lower_or_digit(before)
                           : !is_lower_or_digit(text[i]) && (is_edge || text[i] != '-'))
            return false;
        before = text[i];
    }
    return before != '.';
}

bool label_key_is_valid(const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    size_t prefix_len = slash != NULL ? (size_t)(slash - text) : 0;

    if (slash == NULL)
        return is_name(text, len);
    return is_prefix(text, prefix_len) && is_name(slash + 1, len - prefix_len - 1);
}

bool label_value_is_valid(const char *text, size_t len)
{
    return len == 0 || is_name(text, len);
}
