/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/label_selector.h"

#include "base/buf.h"
#include "encoding/label.h"

/* ---- keys and values */

static int check_key(const char *key, const struct field *field, struct error *e)
{
    if (label_key_is_valid(key, strlen(key)))
        return 0;
    return field_error(field, e,
                       error_set(e, -EINVAL, "\"%.64s\" is not a valid key for a label", key));
}

static int check_value(const char *value, const struct field *field, struct error *e)
{
    if (label_value_is_valid(value, strlen(value)))
        return 0;
    return field_error(field, e,
                       error_set(e, -EINVAL, "\"%.64s\" is not a valid value for a label", value));
}

/* ---- requirements */

/* Return: 0; -E2BIG or -ENOMEM with @e. */
static int add_text(struct buf *text, const char *part, const struct field *field, struct error *e)
{
    int r = buf_add_text(text, part);

    if (r == -EFBIG)
        return field_error(
            field, e,
            error_set(e, -E2BIG, "the selector has more than %u bytes", LABEL_SELECTOR_MAX_BYTES));
    return r < 0 ? error_set_errno(e, r, "cannot read the volume") : 0;
}

/* One of them, in four parts. */
static int add(struct buf *text, const char *const parts[static 4], const struct field *field,
               struct error *e)
{
    int r = text->len > 0 ? add_text(text, ",", field, e) : 0;

    for (size_t i = 0; i < 4 && r == 0; i++)
        r = add_text(text, parts[i], field, e);
    return r;
}

static int add_label(const cJSON *labels, const char *key, const struct field *field,
                     struct buf *text, struct error *e)
{
    const char *value = NULL;
    int r = field_read_text(labels, field, key, &value, e);

    value = value != NULL ? value : "";
    if (r == 0)
        r = check_key(key, field, e);
    if (r == 0)
        r = check_value(value, &FIELD(field, key), e);
    return r < 0 ? r : add(text, (const char *const[]){key, "=", value, ""}, field, e);
}

static int add_labels(const cJSON *selector, const struct field *parent, struct buf *text,
                      struct error *e)
{
    const struct field field = FIELD(parent, "matchLabels");
    const cJSON *labels = field_member(selector, "matchLabels"), *label;
    int r = 0;

    if (labels != NULL && !cJSON_IsObject(labels))
        return field_error(&field, e, error_set(e, -EINVAL, "expected a mapping"));
    cJSON_ArrayForEach (label, labels) {
        r = add_label(labels, label->string, &field, text, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct label_operator {
    const char *name;
    const char *before, *after; /* what is around the key */
    bool has_values;
} operators[] = {
    {"In", "", " in ", true},
    {"NotIn", "", " notin ", true},
    {"Exists", "", "", false},
    {"DoesNotExist", "!", "", false},
};

static int read_operator(const cJSON *json, const struct field *field,
                         const struct label_operator **ret_operator, struct error *e)
{
    const char *name = NULL;
    int r = field_read_required_text(json, field, "operator", &name, e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ELEMENTS_OF(operators); i++) {
        if (streq(name, operators[i].name)) {
            *ret_operator = &operators[i];
            return 0;
        }
    }
    return field_error(
        &FIELD(field, "operator"), e,
        error_set(e, -EINVAL, "invalid operator \"%.32s\": use In, NotIn, Exists or DoesNotExist",
                  name));
}

static int check_count(const cJSON *values, const struct label_operator *op,
                       const struct field *field, struct error *e)
{
    bool has_values = cJSON_GetArraySize(values) > 0;
    int r = field_check_list(values, field, e);

    if (r < 0 || has_values == op->has_values)
        return r;
    return field_error(field, e,
                       error_set(e, -EINVAL, "%s for the operator %s",
                                 has_values ? "no values are allowed" : "values are missing",
                                 op->name));
}

static int add_value(struct buf *text, const cJSON *value, const struct field *field,
                     struct error *e)
{
    int r;

    if (!cJSON_IsString(value))
        return field_error(field, e, error_set(e, -EINVAL, "expected a string"));
    r = check_value(value->valuestring, field, e);
    if (r == 0)
        r = add_text(text, text->len == 0 ? "(" : ",", field, e);
    return r == 0 ? add_text(text, value->valuestring, field, e) : r;
}

/* "(a,b)", or nothing for an operator without values. */
static int read_values(const cJSON *json, const struct field *parent,
                       const struct label_operator *op, struct buf *text, struct error *e)
{
    const struct field field = FIELD(parent, "values");
    const cJSON *values = field_member(json, "values"), *value;
    size_t n = 0;
    int r = check_count(values, op, &field, e);

    if (r < 0)
        return r;
    cJSON_ArrayForEach (value, values) {
        r = add_value(text, value, &FIELD_AT(&field, n++), e);
        if (r < 0)
            return r;
    }
    return n > 0 ? add_text(text, ")", &field, e) : 0;
}

static int add_expression(const cJSON *json, const struct field *field, struct buf *text,
                          struct error *e)
{
    _cleanup_(buf_deinit) struct buf values = BUF_INIT(LABEL_SELECTOR_MAX_BYTES);
    const struct label_operator *op = NULL;
    const char *key = NULL;
    int r = field_check_members(json, field, "key, operator, values", e);

    if (r == 0)
        r = field_read_required_text(json, field, "key", &key, e);
    if (r == 0)
        r = check_key(key, &FIELD(field, "key"), e);
    if (r == 0)
        r = read_operator(json, field, &op, e);
    if (r == 0)
        r = read_values(json, field, op, &values, e);
    if (r < 0)
        return r;
    assert(op != NULL);
    return add(
        text,
        (const char *const[]){op->before, key, op->after, op->has_values ? buf_text(&values) : ""},
        field, e);
}

static int add_expressions(const cJSON *selector, const struct field *parent, struct buf *text,
                           struct error *e)
{
    const struct field field = FIELD(parent, "matchExpressions");
    const cJSON *expressions = field_member(selector, "matchExpressions"), *expression;
    size_t n = 0;
    int r = field_check_list(expressions, &field, e);

    if (r < 0)
        return r;
    cJSON_ArrayForEach (expression, expressions) {
        r = add_expression(expression, &FIELD_AT(&field, n++), text, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int label_selector_text(const cJSON *selector, const struct field *field, char **ret_text,
                        struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(LABEL_SELECTOR_MAX_BYTES);
    int r = 0;

    if (selector != NULL) {
        r = field_check_members(selector, field, "matchLabels, matchExpressions", e);
        if (r == 0)
            r = add_labels(selector, field, &text, e);
        if (r == 0)
            r = add_expressions(selector, field, &text, e);
    }
    if (r < 0)
        return r;
    *ret_text = strdup(selector != NULL ? buf_text(&text) : LABEL_SELECTOR_NOTHING);
    return *ret_text != NULL ? 0 : error_set_errno(e, -ENOMEM, "cannot read the volume");
}
