/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/base64.h"

#include <stdlib.h>

#define NOT_A_DIGIT 64u

static unsigned digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    if (c == '+')
        return 62;
    if (c == '/')
        return 63;
    return NOT_A_DIGIT;
}

int base64_decode(const char *text, size_t len, uint8_t *ret_bytes, size_t *ret_len)
{
    uint32_t group = 0;
    unsigned n_digits = 0, n_padding = 0;
    uint8_t *out = ret_bytes;

    for (size_t i = 0; i < len; i++) {
        unsigned value;

        if (text[i] == '\r' || text[i] == '\n')
            continue;
        if (text[i] == '=') {
            /* only as the last one or two of a group of four */
            if (n_digits + n_padding < 2 || n_digits + n_padding == 4)
                return -EINVAL;
            n_padding++;
            continue;
        }
        value = digit(text[i]);
        if (value == NOT_A_DIGIT || n_padding > 0)
            return -EINVAL;
        group = group << 6 | value;
        if (++n_digits < 4)
            continue;
        *out++ = (uint8_t)(group >> 16);
        *out++ = (uint8_t)(group >> 8);
        *out++ = (uint8_t)group;
        group = 0;
        n_digits = 0;
    }
    if (n_digits + n_padding != 0 && n_digits + n_padding != 4)
        return -EINVAL;
    if (n_digits >= 2)
        *out++ = (uint8_t)(group >> (n_digits == 2 ? 4 : 10));
    if (n_digits == 3)
        *out++ = (uint8_t)(group >> 2);
    *ret_len = (size_t)(out - ret_bytes);
    assert(*ret_len <= base64_decoded_max(len));
    return 0;
}

char *base64_encode_text(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text);
    char *encoded = malloc((len + 2) / 3 * 4 + 1), *out = encoded;

    if (encoded == NULL)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = size_min(len - i, 3);
        uint32_t group = 0;

        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (k < n ? (unsigned char)text[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *out++ = k <= n ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    *out = '\0';
    return encoded;
}
