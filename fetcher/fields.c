/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/fields.h"

#include <stdarg.h>

#include "encoding/base64.h"

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the configuration");
}

char *text_format(const char *format, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    return len >= 0 ? text : NULL; /* vasprintf() leaves it undefined on failure */
}

void strings_free(char **strings)
{
    for (char **s = strings; s != NULL && *s != NULL; s++)
        free(*s);
    free(strings);
}

/* Makes a path absolute, with the directory of the file that contains it. */
static char *resolve_path(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');

    if (path[0] == '/' || slash == NULL)
        return strdup(path);
    return text_format("%.*s/%s", (int)(slash - file), file, path);
}

/* Text for a header or a URL may not contain control bytes. */
static bool has_control_bytes(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

static int decode_data(const char *text, char **ret_data, const char *name, struct error *e)
{
    size_t len = strlen(text);
    _cleanup_(freep) char *data = malloc(base64_decoded_max(len) + 1);

    if (data == NULL)
        return out_of_memory(e);
    if (base64_decode(text, len, (uint8_t *)data, &len) < 0)
        return error_set(e, -EINVAL, "%s is not valid base64", name);
    data[len] = '\0';
    if (strlen(data) != len || strstr(data, "-----BEGIN ") == NULL)
        return error_set(e, -EINVAL, "%s is not PEM in base64", name);
    *ret_data = TAKE(data);
    return 0;
}

static int read_texts(const cJSON *list, const struct field *field, char ***ret_texts,
                      struct error *e)
{
    const char *limit = field->type == FIELD_LINES ? " without line breaks" : "";
    size_t n = 0;
    const cJSON *item;
    char **texts;

    if (!cJSON_IsArray(list))
        return error_set(e, -EINVAL, "%s is not a list of strings", field->name);
    if (list->child == NULL)
        return 0;
    texts = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*texts));
    if (texts == NULL)
        return out_of_memory(e);
    *ret_texts = texts; /* owned by the struct from here on, also if incomplete */
    cJSON_ArrayForEach (item, list) {
        const char *text = cJSON_GetStringValue(item);

        if (text == NULL || (field->type == FIELD_LINES && has_control_bytes(text)))
            return error_set(e, -EINVAL, "%s is not a list of strings%s", field->name, limit);
        texts[n] = strdup(text);
        if (texts[n++] == NULL)
            return out_of_memory(e);
    }
    return 0;
}

static int read_text(const struct field *field, const char *file, const char *text, char **ret_text,
                     struct error *e)
{
    bool is_relative =
        field->type == FIELD_PATH || (field->type == FIELD_COMMAND && strchr(text, '/') != NULL);

    if (text[0] == '\0') /* counts as absent, as in Go */
        return 0;
    if (field->type == FIELD_DATA)
        return decode_data(text, ret_text, field->name, e);
    if (field->type != FIELD_TEXT && has_control_bytes(text))
        return error_set(e, -EINVAL, "%s contains a line break or control character", field->name);
    *ret_text = is_relative ? resolve_path(file, text) : strdup(text);
    return *ret_text != NULL ? 0 : out_of_memory(e);
}

static int read_field(const cJSON *json, const char *file, const struct field *field, void *member,
                      struct error *e)
{
    const cJSON *value = json_member(json, field->name);

    if (value == NULL || cJSON_IsNull(value))
        return 0;
    switch (field->type) {
    case FIELD_FLAG:
        if (!cJSON_IsBool(value))
            return error_set(e, -EINVAL, "%s is not true or false", field->name);
        *(bool *)member = cJSON_IsTrue(value);
        return 0;
    case FIELD_TEXTS:
    case FIELD_LINES:
        return read_texts(value, field, member, e);
    case FIELD_TEXT:
    case FIELD_LINE:
    case FIELD_PATH:
    case FIELD_COMMAND:
    case FIELD_DATA:
        break;
    }
    if (!cJSON_IsString(value))
        return error_set(e, -EINVAL, "%s is not a string: put it between quotation marks",
                         field->name);
    return read_text(field, file, value->valuestring, member, e);
}

int fields_read(const cJSON *json, const char *file, const struct field *fields, size_t n,
                void *base, struct error *e)
{
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = read_field(json, file, &fields[i], (char *)base + fields[i].offset, e);
    return r;
}
