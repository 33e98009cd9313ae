/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/json.h"

#include <search.h>
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

int json_member_compare(const void *a, const void *b)
{
    const cJSON *x = a, *y = b;

    return strcmp(x->string, y->string);
}

void json_member_keep(void *member)
{
}

static int check_members(const cJSON *j, size_t depth, size_t depth_max, struct error *e)
{
    void *seen = NULL;
    cJSON *child;
    int r = 0;

    if (depth == depth_max && json_is_container(j))
        return error_set(e, -EINVAL, "the document nests deeper than %zu levels", depth_max);
    cJSON_ArrayForEach (child, j) {
        if (child->string != NULL) {
            cJSON *const *node = tsearch(child, &seen, json_member_compare);

            if (node == NULL)
                r = error_set_errno(e, -ENOMEM, "cannot parse the document");
            else if (*node != child)
                r = error_set(e, -EINVAL, "duplicate key \"%.64s\" in a mapping", child->string);
        }
        if (r >= 0)
            r = check_members(child, depth + 1, depth_max, e);
        if (r < 0)
            break;
    }
    tdestroy(seen, json_member_keep);
    return r;
}

int json_check_members(const cJSON *j, size_t depth_max, struct error *e)
{
    return check_members(j, 0, depth_max, e);
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

int json_print_without_tags(const cJSON *j, struct buf *text)
{
    char *printed = cJSON_PrintUnformatted(j);
    int r = printed != NULL ? 0 : -ENOMEM;

    for (const char *at = printed; r == 0 && *at != '\0';) {
        size_t len = strcspn(at, "<>&");

        r = buf_add(text, at, len);
        at += len;
        if (r == 0 && *at != '\0')
            r = buf_addf(text, "\\u%04x", (unsigned)*at++);
    }
    cJSON_free(printed);
    return r;
}

/*
 * Check what cJSON does not: a NUL written as \u0000, which would cut its string short, and control
 * characters that are not escaped.
 * @ret_n_nul: how many NULs; NULL: one is an error
 * Return: 0; -EINVAL with @e.
 */
static int check_strings(const char *text, size_t len, size_t *ret_n_nul, struct error *e)
{
    bool in_string = false;
    size_t n_nul = 0;

    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\') {
            bool is_nul = len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0;

            if (is_nul && ret_n_nul == NULL)
                return error_set(e, -EINVAL,
                                 "the string at byte %zu contains a NUL character: use base64, in "
                                 "data of a Secret or binaryData of a ConfigMap",
                                 i);
            n_nul += is_nul;
            i++; /* an escaped quote does not end the string */
        } else if (in_string && (unsigned char)text[i] < 0x20) {
            return error_set(e, -EINVAL, "invalid JSON: unescaped control character at byte %zu",
                             i);
        } else if (text[i] == '"') {
            in_string = !in_string;
        }
    }
    if (ret_n_nul != NULL)
        *ret_n_nul = n_nul;
    return 0;
}

/* Copy a text that check_strings() found good, with JSON_NUL for \u0000. Return: its length. */
static size_t replace_nuls(const char *text, size_t len, char *ret_copy)
{
    bool in_string = false;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\' && len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
            ret_copy[n++] = JSON_NUL[0];
            ret_copy[n++] = JSON_NUL[1];
            i += 5;
            continue;
        }
        if (in_string && text[i] == '\\' && i + 1 < len)
            ret_copy[n++] = text[i++];
        else if (text[i] == '"')
            in_string = !in_string;
        ret_copy[n++] = text[i];
    }
    return n;
}

void json_encode_text(const char *bytes, size_t len, char *ret_text)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\0')
            ret_text = mempcpy(ret_text, JSON_NUL, 2);
        else
            *ret_text++ = bytes[i];
    }
    *ret_text = '\0';
}

size_t json_decode_text(const char *text, size_t len, uint8_t *ret_bytes)
{
    const char *at = text, *end = text + len, *found;
    uint8_t *to = ret_bytes;

    while ((found = memmem(at, (size_t)(end - at), JSON_NUL, 2)) != NULL) {
        to = mempcpy(to, at, (size_t)(found - at));
        *to++ = '\0';
        at = found + 2;
    }
    to = mempcpy(to, at, (size_t)(end - at));
    return (size_t)(to - ret_bytes);
}

/*
 * Count the values of the list or object that a text begins with, up to its end. In text that is
 * invalid, it counts at least those in front of the error.
 * Return: at most JSON_MAX_VALUES + 1; 1 for text that does not begin with a bracket.
 */
static size_t count_values(const char *text, size_t len)
{
    bool in_string = false, is_first = false;
    bool has_mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0; /* cJSON skips it */
    size_t n = 1, depth = 0;

    for (size_t i = has_mark ? 3 : 0; i < len && n <= JSON_MAX_VALUES; i++) {
        char c = text[i];
        bool is_opening = c == '{' || c == '[', is_closing = c == '}' || c == ']';

        if (in_string) {
            i += c == '\\'; /* an escaped quote does not end the string */
            in_string = c != '"';
            continue;
        }
        if ((unsigned char)c <= ' ') /* as cJSON skips them */
            continue;
        n += c == ',' || (is_first && !is_closing);
        depth += is_opening;
        if (depth == 0 || (is_closing && --depth == 0))
            break;
        is_first = is_opening;
        in_string = c == '"';
    }
    return n;
}

/*
 * Return: 0; -EINVAL or -E2BIG with @e; -ENOMEM. *ret_end is where the value, or what is valid of
 * it, ends.
 */
static int parse_value(const char *text, size_t len, cJSON **ret_json, const char **ret_end,
                       struct error *e)
{
    const char *end = text;
    cJSON *json;

    if (count_values(text, len) > JSON_MAX_VALUES)
        return error_set(e, -E2BIG, "it has more than %u values", JSON_MAX_VALUES);
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

/* Parse a text that check_strings() found good, up to its last byte. */
static int parse_whole(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    const char *end = text;
    cJSON *json = NULL;
    int r = parse_value(text, len, &json, &end, e);

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

int json_parse(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    int r = check_strings(text, len, NULL, e);

    return r < 0 ? r : parse_whole(text, len, ret_json, e);
}

int json_parse_with_nul(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    _cleanup_(freep) char *copy = NULL;
    size_t n_nul;
    int r = check_strings(text, len, &n_nul, e);

    if (r < 0)
        return r;
    if (len > 0 && memmem(text, len, JSON_NUL, 2) != NULL)
        return error_set(e, -EINVAL, "invalid JSON: it is not UTF-8");
    if (n_nul == 0)
        return parse_whole(text, len, ret_json, e);
    assert(len > 0);
    copy = malloc(len);
    if (copy == NULL)
        return error_set_errno(e, -ENOMEM, "cannot parse the JSON");
    return parse_whole(copy, replace_nuls(text, len, copy), ret_json, e);
}

int json_parse_prefix(const char *text, size_t len, bool keeps_nul, cJSON **ret_json,
                      const char **ret_end, struct error *e)
{
    const char *end = text;
    cJSON *json = NULL;
    size_t n_nul = 0;
    int r = parse_value(text, len, &json, &end, e);

    if (r == 0)
        r = check_strings(text, (size_t)(end - text), keeps_nul ? &n_nul : NULL, e);
    if (r == 0 && n_nul > 0) {
        cJSON_Delete(TAKE(json)); /* its strings end at their first NUL */
        r = json_parse_with_nul(text, (size_t)(end - text), &json, e);
    }
    if (r < 0) {
        cJSON_Delete(json);
        return r;
    }
    *ret_json = json;
    *ret_end = end;
    return 0;
}
