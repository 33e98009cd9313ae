/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/utf8.h"

size_t utf8_length(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n;

    if (len == 0)
        return 0;
    n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n == 0 || n > len || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates and values above U+10FFFF show in the second byte */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

bool utf8_is_valid(const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(text + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

size_t utf8_decode(const char *text, uint32_t *ret_c)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len = p[0] == '\0' ? 1 : utf8_length(text, strnlen(text, UTF8_MAX_BYTES));
    uint32_t c = len > 1 ? p[0] & (0x7fu >> len) : p[0];

    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3fu);
    *ret_c = c;
    return len;
}
