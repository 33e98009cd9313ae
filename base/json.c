/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

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

int json_parse(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text, len, &end, false);

    if (json == NULL)
        return error_set(e, -EINVAL, "invalid JSON at byte %zu", (size_t)(end - text));
    while (end < text + len && strchr(" \t\r\n", *end) != NULL && *end != '\0')
        end++;
    if (end != text + len) {
        cJSON_Delete(json);
        return error_set(e, -EINVAL, "invalid JSON: something follows the value at byte %zu",
                         (size_t)(end - text));
    }
    *ret_json = json;
    return 0;
}
