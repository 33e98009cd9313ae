/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/yaml_scalar.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_TEXT_MAX 512 /* longer runs of digits are text */

/* Unquoted words that are not strings, separated by spaces. The empty scalar means null. */
static const struct {
    struct yaml_scalar meaning;
    const char *words;
} word_lists[] = {
    {{.kind = SCALAR_NULL}, " ~ null Null NULL "},
    {{.kind = SCALAR_BOOL, .is_true = true}, " true True TRUE y Y yes Yes YES on On ON "},
    {{.kind = SCALAR_BOOL, .is_true = false}, " false False FALSE n N no No NO off Off OFF "},
    {{.kind = SCALAR_NOT_FINITE},
     " .inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF .nan .NaN .NAN "},
};

#define WORD_MAX 5

static bool is_word_of(const char *words, const char *text, size_t len)
{
    const char *found = strstr(words, text);

    while (found != NULL && (found[-1] != ' ' || found[len] != ' '))
        found = strstr(found + 1, text);
    return found != NULL;
}

static const char *skip_digits(const char *p)
{
    return p + strspn(p, "0123456789");
}

/* Go's strconv.ParseInt(text, 0, 64) or ParseUint: a sign, a prefix for the base, digits. */
static bool parse_integer(const char *text, struct yaml_scalar *ret_scalar)
{
    const char *p = text;
    bool is_negative = *p == '-', has_sign = is_negative || *p == '+';
    unsigned long long n;
    int base = 10;
    char *end;

    p += has_sign;
    if (p[0] == '0' && p[1] != '\0') {
        base = strchr("xX", p[1]) != NULL ? 16 : strchr("bB", p[1]) != NULL ? 2 : 8;
        p += strchr("xXbBoO", p[1]) != NULL ? 2 : 1;
    }
    /* strtoull() would take a second sign, a second prefix or white space */
    if (*p == '\0' || p[strspn(p, "0123456789abcdefABCDEF")] != '\0')
        return false;
    errno = 0;
    n = strtoull(p, &end, base);
    if (errno != 0 || *end != '\0' || (has_sign && n > (unsigned long long)INT64_MAX + is_negative))
        return false;
    *ret_scalar = (struct yaml_scalar){.kind = SCALAR_NUMBER,
                                       .number = is_negative ? -(double)n : (double)n,
                                       .is_integer = true,
                                       .is_negative = is_negative,
                                       .magnitude = n};
    return true;
}

/* go-yaml's: [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? and not out of range. */
static bool parse_float(const char *text, struct yaml_scalar *ret_scalar)
{
    const char *p = text + (*text == '-' || *text == '+'), *digits = p;
    double n;

    p = skip_digits(p);
    if (p == digits && !(p[0] == '.' && p[1] >= '0' && p[1] <= '9'))
        return false;
    if (*p == '.')
        p = skip_digits(p + 1);
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        if (skip_digits(p) == p)
            return false;
        p = skip_digits(p);
    }
    if (*p != '\0')
        return false;
    n = strtod(text, NULL);
    if (!isfinite(n))
        return false;
    *ret_scalar = (struct yaml_scalar){.kind = SCALAR_NUMBER, .number = n};
    return true;
}

static bool parse_number(const char *text, size_t len, struct yaml_scalar *ret_scalar)
{
    char plain[NUMBER_TEXT_MAX];
    size_t n = 0;
    bool found;

    if (len >= sizeof(plain) || strchr("+-.0123456789", *text) == NULL)
        return false;
    for (const char *p = text; *p != '\0'; p++)
        if (*p != '_' || *text == '.')
            plain[n++] = *p;
    assert(n < sizeof(plain));
    plain[n] = '\0';
    found = parse_integer(plain, ret_scalar) || parse_float(plain, ret_scalar);
    explicit_bzero(plain, sizeof(plain)); /* it may be a password */
    return found;
}

struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len)
{
    struct yaml_scalar s = {.kind = SCALAR_TEXT};

    if (len == 0)
        return (struct yaml_scalar){.kind = SCALAR_NULL};
    for (size_t i = 0; i < ELEMENTS_OF(word_lists) && len <= WORD_MAX; i++)
        if (strchr(text, ' ') == NULL && is_word_of(word_lists[i].words, text, len))
            return word_lists[i].meaning;
    (void)parse_number(text, len, &s);
    return s;
}

/* Go's strconv.FormatFloat(number, 'g', -1, 32). */
static const char *float_text(double number, char buf[static YAML_SCALAR_KEY_SIZE])
{
    int precision = 0, exponent;
    float f;

    if (fabs(number) > (double)FLT_MAX)
        return number < 0 ? "-.inf" : ".inf";
    f = (float)number;
    do
        snprintf(buf, YAML_SCALAR_KEY_SIZE, "%.*e", precision++, (double)f);
    while (precision < FLT_DECIMAL_DIG && strtof(buf, NULL) != f);
    precision--;
    exponent = (int)strtol(strchr(buf, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 6)
        snprintf(buf, YAML_SCALAR_KEY_SIZE, "%.*f", precision > exponent ? precision - exponent : 0,
                 (double)f);
    return buf;
}

const char *yaml_scalar_key_text(const struct yaml_scalar *scalar,
                                 char buf[static YAML_SCALAR_KEY_SIZE])
{
    assert(scalar->kind == SCALAR_NUMBER);
    if (!scalar->is_integer)
        return float_text(scalar->number, buf);
    if (!scalar->is_negative && scalar->magnitude > INT64_MAX)
        return NULL;
    snprintf(buf, YAML_SCALAR_KEY_SIZE, "%s%llu",
             scalar->is_negative && scalar->magnitude > 0 ? "-" : "", scalar->magnitude);
    return buf;
}
