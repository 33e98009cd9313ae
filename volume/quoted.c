/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Go's strconv.Quote, which the kubelet uses (Y3): letters, marks, numbers, punctuation and symbols
 * of Unicode are written as they are, everything else is escaped. The C library knows which code
 * points are assigned; what it counts as printable besides is in a table here: spaces other than
 * U+0020, format characters, and private use.
 */
#include "volume/quoted.h"

#include <errno.h>
#include <locale.h>
#include <stdint.h>
#include <wctype.h>

#include "encoding/json.h"
#include "encoding/utf8.h"

/* Source: general categories Zs, Cf and Co of the Unicode Character Database. */
static const struct {
    uint32_t first, last;
} not_printable[] = {
    {0xa0, 0xa0},        {0xad, 0xad},       {0x600, 0x605},     {0x61c, 0x61c},
    {0x6dd, 0x6dd},      {0x70f, 0x70f},     {0x890, 0x891},     {0x8e2, 0x8e2},
    {0x1680, 0x1680},    {0x180e, 0x180e},   {0x2000, 0x200f},   {0x2028, 0x202f},
    {0x205f, 0x206f},    {0x3000, 0x3000},   {0xe000, 0xf8ff},   {0xfeff, 0xfeff},
    {0xfff9, 0xfffb},    {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},
    {0x1bca0, 0x1bca3},  {0x1d173, 0x1d17a}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f},
    {0xf0000, 0x10ffff},
};

/* @unicode: NULL: each code point counts as assigned */
static bool is_printable(uint32_t c, locale_t unicode)
{
    if (c < 0x7f)
        return c >= 0x20;
    for (size_t i = 0; i < ELEMENTS_OF(not_printable); i++)
        if (c >= not_printable[i].first && c <= not_printable[i].last)
            return false;
    return unicode == (locale_t)0 ? c >= 0xa0 : iswprint_l((wint_t)c, unicode) != 0;
}

static int add_escaped(struct buf *buf, uint32_t c)
{
    static const char letters[] = "\aa\bb\ff\nn\rr\tt\vv\\\\\"\"";

    for (size_t i = 0; i + 1 < sizeof(letters); i += 2)
        if (c == (unsigned char)letters[i])
            return buf_addf(buf, "\\%c", letters[i + 1]);
    if (c < 0x20 || c == 0x7f)
        return buf_addf(buf, "\\x%02x", c);
    return buf_addf(buf, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

/* Return: the bytes that were used; -errno. */
static ssize_t add_one(struct buf *buf, const char *text, locale_t unicode)
{
    uint32_t c;
    size_t len;
    int r;

    if (str_after(text, JSON_NUL) != NULL) {
        r = buf_add_text(buf, "\\x00");
        return r < 0 ? r : 2;
    }
    len = utf8_decode(text, &c);
    if (len == 0)
        r = buf_addf(buf, "\\x%02x", c);
    else if (c == '"' || c == '\\' || !is_printable(c, unicode))
        r = add_escaped(buf, c);
    else
        r = buf_add(buf, text, len);
    return r < 0 ? r : len > 0 ? (ssize_t)len : 1;
}

int quoted_add(struct buf *buf, const char *text)
{
    /* a part of the C library, which reads no file for it */
    locale_t unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    int r = buf_add_text(buf, "\"");

    while (r >= 0 && *text != '\0') {
        ssize_t n = add_one(buf, text, unicode);

        r = n < 0 ? (int)n : 0;
        text += n > 0 ? n : 0;
    }
    if (unicode != (locale_t)0)
        freelocale(unicode);
    return r < 0 ? r : buf_add_text(buf, "\"");
}
