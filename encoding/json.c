/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/json.h"

#include <stdarg.h>

const cJSON *json_member(const cJSON *j, const char *key)
{
    return cJSON_IsObject(j) ? cJSON_GetObjectItemCaseSensitive(j, key) : NULL;
}

const cJSON *json_path(const cJSON *j, ...)
{
    const char *key;
    va_list keys;

    va_start(keys, j);
    while (j != NULL && (key = va_arg(keys, const char *)) != NULL)
        j = json_member(j, key);
    va_end(keys);
    return j;
}

const char *json_text(const cJSON *j, const char *key)
{
    return cJSON_GetStringValue(json_member(j, key));
}

bool json_is_true(const cJSON *j, const char *key)
{
    return cJSON_IsTrue(json_member(j, key));
}

int json_add_text(cJSON *j, const char *key, const char *text)
{
    if (text == NULL)
        return 0;
    return cJSON_AddStringToObject(j, key, text) != NULL ? 0 : -ENOMEM;
}

int json_add_number(cJSON *j, const char *key, double n)
{
    return cJSON_AddNumberToObject(j, key, n) != NULL ? 0 : -ENOMEM;
}

int json_add_bool(cJSON *j, const char *key, bool value)
{
    return cJSON_AddBoolToObject(j, key, value) != NULL ? 0 : -ENOMEM;
}

/*
 * Check what cJSON does not: a NUL written as \u0000, which would cut its string short, and control
 * characters that are not escaped.
 * Return: 0; -EINVAL with @e.
 */
static int check_strings(const char *text, size_t len, struct error *e)
{
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\') {
            if (len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0)
                return error_set(e, -EINVAL,
                                 "the string at byte %zu contains a NUL character: use base64, in "
                                 "data of a Secret or binaryData of a ConfigMap",
                                 i);
            i++; /* an escaped quote does not end the string */
        } else if (in_string && (unsigned char)text[i] < 0x20) {
            return error_set(e, -EINVAL, "invalid JSON: unescaped control character at byte %zu",
                             i);
        } else if (text[i] == '"') {
            in_string = !in_string;
        }
    }
    return 0;
}

/* Return: 0; -EINVAL with @e; -ENOMEM. *ret_end is where the value, or what is valid of it, ends.
 */
static int parse_value(const char *text, size_t len, cJSON **ret_json, const char **ret_end,
                       struct error *e)
{
    const char *end = text;
    cJSON *json;

    errno = 0; /* cJSON reports out of memory and invalid text alike */
    json = cJSON_ParseWithLengthOpts(text, len, &end, false);
    if (json == NULL && errno == ENOMEM)
        return error_set_errno(e, -ENOMEM, "cannot parse the JSON");
    if (json == NULL)
        return error_set(e, -EINVAL, "invalid JSON at byte %zu", (size_t)(end - text));
    *ret_json = json;
    *ret_end = end;
    return 0;
}

int json_parse(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    const char *end = text;
    cJSON *json = NULL;
    int r = check_strings(text, len, e);

    if (r == 0)
        r = parse_value(text, len, &json, &end, e);
    if (r < 0)
        return r;
    while (end < text + len && strchr(" \t\r\n", *end) != NULL && *end != '\0')
        end++;
    if (end != text + len) {
        cJSON_Delete(json);
        return error_set(e, -EINVAL, "invalid JSON: data after the value at byte %zu",
                         (size_t)(end - text));
    }
    *ret_json = json;
    return 0;
}

int json_parse_prefix(const char *text, size_t len, cJSON **ret_json, const char **ret_end,
                      struct error *e)
{
    const char *end = text;
    cJSON *json = NULL;
    int r = parse_value(text, len, &json, &end, e);

    if (r == 0)
        r = check_strings(text, (size_t)(end - text), e);
    if (r < 0) {
        cJSON_Delete(json);
        return r;
    }
    *ret_json = json;
    *ret_end = end;
    return 0;
}
