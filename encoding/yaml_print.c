/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/yaml_print.h"

#include <ctype.h>
#include <strings.h>

#define INDENT 2

/*
 * Whether a text needs no quotes. Texts that some parser of YAML reads as anything but a string are
 * quoted: numbers and times begin with a digit, sign or dot.
 */
static bool is_plain(const char *s)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no",
                                        "on",   "off",   "y",    "n"};

    if (!isalpha((unsigned char)*s) && *s != '/' && *s != '_')
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(words); i++)
        if (strcasecmp(s, words[i]) == 0)
            return false;
    for (const char *c = s; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("_./-", *c) == NULL)
            return false;
    return true;
}

static int add_string(struct buf *text, const char *s)
{
    int r;

    if (is_plain(s))
        return buf_add_text(text, s);
    r = buf_add_text(text, "\"");
    for (const unsigned char *c = (const unsigned char *)s; *c != '\0' && r >= 0; c++) {
        if (*c == '"' || *c == '\\')
            r = buf_addf(text, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7f)
            r = buf_addf(text, "\\x%02x", *c);
        else
            r = buf_add(text, c, 1);
    }
    return r < 0 ? r : buf_add_text(text, "\"");
}

static int add_scalar(struct buf *text, const cJSON *json)
{
    char *printed;
    int r;

    if (cJSON_IsString(json))
        return add_string(text, json->valuestring);
    /* JSON's spelling of numbers, true, false, null, and of empty lists and mappings */
    printed = cJSON_PrintUnformatted(json);
    r = printed != NULL ? buf_add_text(text, printed) : -ENOMEM;
    cJSON_free(printed);
    return r;
}

static bool has_children(const cJSON *json)
{
    return (cJSON_IsObject(json) || cJSON_IsArray(json)) && json->child != NULL;
}

static int add_indent(struct buf *text, size_t indent)
{
    int r = 0;

    for (size_t i = 0; i < indent && r >= 0; i++)
        r = buf_add_text(text, " ");
    return r;
}

static int add_children(struct buf *text, const cJSON *json, size_t indent, bool is_begun)
{
    const cJSON *child;
    int r = 0;

    cJSON_ArrayForEach (child, json) {
        bool is_item = cJSON_IsArray(json), is_nested = has_children(child);
        /* a list has the indent of its key; the content of an item follows its dash */
        size_t deeper = indent + (is_item || !cJSON_IsArray(child) ? INDENT : 0);

        if (!is_begun)
            r = add_indent(text, indent);
        is_begun = false;
        if (r >= 0)
            r = is_item ? buf_add_text(text, "- ") : add_string(text, child->string);
        if (r >= 0 && !is_item)
            r = buf_add_text(text, is_nested ? ":\n" : ": ");
        if (r >= 0 && is_nested)
            r = add_children(text, child, deeper, is_item);
        else if (r >= 0)
            r = add_scalar(text, child);
        if (r >= 0 && !is_nested)
            r = buf_add_text(text, "\n");
        if (r < 0)
            return r;
    }
    return 0;
}

int yaml_print(const cJSON *json, struct buf *text)
{
    int r;

    if (has_children(json))
        return add_children(text, json, 0, false);
    r = add_scalar(text, json);
    return r < 0 ? r : buf_add_text(text, "\n");
}
