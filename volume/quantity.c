/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A quantity is a decimal number with a suffix: none, a decimal one (n u m k M G T P E), a binary
 * one (Ki Mi Gi Ti Pi Ei), or an exponent (e3, E-2). The API server writes at most 18 digits; more
 * than DIGITS_MAX, with leading zeros, are refused.
 */
#include "volume/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* 128 bits hold 38. */
#define DIGITS_MAX   36
#define EXPONENT_MAX 64

static const struct {
    const char *suffix;
    int exp10;
    unsigned exp2;
} suffixes[] = {
    {"", 0, 0},    {"n", -9, 0},  {"u", -6, 0},  {"m", -3, 0},  {"k", 3, 0},   {"M", 6, 0},
    {"G", 9, 0},   {"T", 12, 0},  {"P", 15, 0},  {"E", 18, 0},  {"Ki", 0, 10}, {"Mi", 0, 20},
    {"Gi", 0, 30}, {"Ti", 0, 40}, {"Pi", 0, 50}, {"Ei", 0, 60},
};

/* Return: behind the digits; NULL if there are too many. */
static const char *parse_digits(const char *at, struct quantity *q, size_t *n_digits)
{
    for (; isdigit((unsigned char)*at); at++) {
        if (++*n_digits > DIGITS_MAX)
            return NULL;
        q->digits = q->digits * 10 + (unsigned)(*at - '0');
    }
    return at;
}

static int parse_exponent(const char *text, struct quantity *q)
{
    char *end;
    long exponent;

    if (!isdigit((unsigned char)text[text[0] == '-' || text[0] == '+']))
        return -EINVAL;
    exponent = strtol(text, &end, 10);
    if (*end != '\0' || exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX)
        return -EINVAL;
    q->exp10 += (int)exponent;
    return 0;
}

static int parse_suffix(const char *text, struct quantity *q)
{
    for (size_t i = 0; i < ELEMENTS_OF(suffixes); i++) {
        if (!streq(text, suffixes[i].suffix))
            continue;
        q->exp10 += suffixes[i].exp10;
        q->exp2 = suffixes[i].exp2;
        return 0;
    }
    return text[0] == 'e' || text[0] == 'E' ? parse_exponent(text + 1, q) : -EINVAL;
}

int quantity_parse(const char *text, struct quantity *ret_quantity)
{
    struct quantity q = {.digits = 0};
    size_t n_digits = 0, n_whole;
    const char *at = parse_digits(text + (text[0] == '+'), &q, &n_digits);
    int r;

    n_whole = n_digits;
    if (at != NULL && *at == '.')
        at = parse_digits(at + 1, &q, &n_digits);
    if (at == NULL || n_digits == 0)
        return -EINVAL;
    q.exp10 = -(int)(n_digits - n_whole);
    r = parse_suffix(at, &q);
    if (r == 0)
        *ret_quantity = q;
    return r;
}

bool quantity_is_zero(const struct quantity *quantity)
{
    return quantity->digits == 0;
}

/* Return: the product; INT64_MAX if it is larger. */
static unsigned __int128 multiply(unsigned __int128 n, unsigned factor)
{
    return n > INT64_MAX ? (unsigned __int128)INT64_MAX + 1 : n * factor;
}

int64_t quantity_count(const struct quantity *quantity, int places)
{
    unsigned __int128 n = quantity->digits;
    int exp10 = quantity->exp10 + places;
    bool has_rest = false;

    /* divide last, so that nothing is rounded before */
    if (exp10 < 0 && quantity->exp2 > 0 && n <= ((unsigned __int128)1 << 64)) {
        n <<= quantity->exp2; /* below 2 to the power of 125 */
    } else {
        for (unsigned i = 0; i < quantity->exp2; i++)
            n = multiply(n, 2);
    }
    for (; exp10 > 0 && n > 0; exp10--)
        n = multiply(n, 10);
    for (; exp10 < 0 && n > 0; exp10++) {
        has_rest |= n % 10 != 0;
        n /= 10;
    }
    n += has_rest;
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}
