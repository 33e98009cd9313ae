/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each document is read twice: as JSON, on which the decisions are made, and as places in the text,
 * where the edits are. The edits change the JSON, too. At the end the result is read again, and has
 * to be that JSON: a text that the edits do not fit is refused, never printed.
 *
 * Documents without pods are not looked at more closely. Errors name lines, no values.
 */
#include "cmd/adopt/convert.h"

#include "cmd/adopt/rewrite.h"
#include "cmd/adopt/workload.h"
#include "encoding/json.h"
#include "encoding/yaml.h"

struct converter {
    const char *text;
    const char *newline;
    const struct convert_options *options;
    struct rewrite_text document; /* the one that is being converted */
    struct edits edits;
    cJSON *expected; /* owned; the documents that the result should have */
    struct error *e;
};

static void converter_deinit(struct converter *c)
{
    edits_deinit(&c->edits);
    cJSON_Delete(c->expected);
}

/* The text's own line breaks. */
static const char *newline_of(const char *text, size_t len)
{
    const char *first = memchr(text, '\n', len);

    return first != NULL && first > text && first[-1] == '\r' ? "\r\n" : "\n";
}

static int convert_pod(void *userdata, struct spot pod, struct error *e)
{
    struct converter *c = userdata;
    _cleanup_(plan_deinit) struct plan plan = {.n = 0};
    int r = c->options->reverts ? plan_revert(&plan, pod, e)
                                : plan_adopt(&plan, pod, c->options->adopts_tokens, e);

    return r < 0 || plan.n_changes == 0 ? r : rewrite_pod(&c->document, &plan, &c->edits, e);
}

static int convert_document(struct converter *c, struct yaml_document *document)
{
    _cleanup_(yaml_place_freep) struct yaml_place *root = NULL;
    int r = yaml_place_parse(document->text, document->len, document->text_line, document->line,
                             &root, c->e);

    if (r < 0)
        return r;
    c->document = (struct rewrite_text){.text = document->text,
                                        .len = document->len,
                                        .offset = (size_t)(document->text - c->text),
                                        .newline = c->newline};
    return workload_each(spot_root(document->json, root), convert_pod, c, c->e);
}

static int on_document(void *userdata, struct yaml_document *document)
{
    struct converter *c = userdata;
    int r;

    if (document->result < 0) {
        *c->e = document->error;
        return document->result;
    }
    r = workload_is_known(document->json) ? convert_document(c, document) : 0;
    if (r == 0 && !cJSON_AddItemToArray(c->expected, document->json))
        r = error_set_errno(c->e, -ENOMEM, "cannot convert the document");
    if (r == 0)
        document->json = NULL;
    return r;
}

/* ---- the check of the result */

static bool text_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && streq(a, b));
}

/* Members have to be in the same order; cJSON_Compare() would search for each. */
static bool json_same(const cJSON *a, const cJSON *b)
{
    const cJSON *x = a->child, *y = b->child;

    if ((a->type & 0xff) != (b->type & 0xff) || !text_same(a->string, b->string) ||
        (cJSON_IsString(a) && !text_same(a->valuestring, b->valuestring)) ||
        (cJSON_IsNumber(a) && a->valuedouble != b->valuedouble))
        return false;
    for (; x != NULL && y != NULL; x = x->next, y = y->next)
        if (!json_same(x, y))
            return false;
    return x == NULL && y == NULL;
}

struct checker {
    const cJSON *next; /* the document that is expected */
};

/* Return: 0; 1 if it is another document; -ENOMEM. */
static int check_document(void *userdata, struct yaml_document *document)
{
    struct checker *k = userdata;
    const cJSON *expected = k->next;

    if (document->result == -ENOMEM)
        return -ENOMEM;
    if (expected == NULL || document->result < 0 || !json_same(expected, document->json))
        return 1;
    k->next = expected->next;
    return 0;
}

static int check_result(const struct converter *c, const struct buf *result, size_t begin)
{
    struct checker checker = {.next = c->expected->child};
    int r = yaml_parse_documents(buf_text(result) + begin, result->len - begin, check_document,
                                 &checker, c->e);

    if (r == -ENOMEM)
        return error_set_errno(c->e, r, "cannot check the result");
    return r == 0 && checker.next == NULL
               ? 0
               : error_set(c->e, -EINVAL,
                           "the volumes are written in a form that cannot be edited, or the result "
                           "is too long: write them plainly, or divide the text");
}

int convert(const char *text, size_t len, const struct convert_options *options, struct buf *result,
            struct error *e)
{
    _cleanup_(converter_deinit) struct converter c = {.text = text,
                                                      .newline = newline_of(text, len),
                                                      .options = options,
                                                      .expected = cJSON_CreateArray(),
                                                      .e = e};
    size_t begin = result->len;
    int r;

    if (c.expected == NULL)
        return error_set_errno(e, -ENOMEM, "cannot convert the text");
    r = yaml_parse_documents(text, len, on_document, &c, e);
    if (r < 0)
        return r;
    r = edits_apply(&c.edits, text, len, result);
    if (r < 0)
        return error_set_errno(e, r, "cannot convert the text");
    return c.edits.n > 0 ? check_result(&c, result, begin) : 0;
}
