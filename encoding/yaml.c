/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's events become cJSON values directly, without a tree in between.
 *
 * A plain scalar has its meaning to kubectl (sigs.k8s.io/yaml, which is go-yaml v2): the words of
 * YAML 1.1, so y, yes and on are true; 0x1F, 0o17, 017, 0b11 and 1_000 are integers; 08 is a float;
 * dates are strings. A quoted scalar is a string. A key that is a number or a boolean becomes its
 * JSON text, so that the key `on` is "true", as in a cluster.
 *
 * Stricter than kubectl: a duplicate key in a mapping is an error; kubectl silently drops one of
 * the two values. More lenient: a key of the mapping itself wins over a merged one (<<) in any
 * order; JSON may contain tabs and surrogate pairs, because text that begins like JSON is first
 * parsed as JSON.
 *
 * The text is divided at its "---" lines and each part is parsed for itself: libyaml cannot
 * continue after an error, and an invalid document must not affect the others. YAML ends a document
 * at such a line in quotes and block scalars, too, so this never divides a document.
 *
 * Values may be secret. So errors name places and keys, but no values, anchors or tags: an unquoted
 * password may begin with * or !.
 *
 * An alias becomes a copy of its value. All copies of a document together are limited in number,
 * bytes and depth, which stops a "billion laughs" attack.
 */
#include "encoding/yaml.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include <yaml.h>

#include "encoding/base64.h"
#include "encoding/json.h"
#include "encoding/yaml_scalar.h"

#define MAX_ANCHORS 1000 /* a linear search finds them */

/*
 * The bytes that may be scanned and moved because of \', which libyaml refuses. Each string that
 * has one costs the length of the text; a manifest of 100 KiB may have 300 of them.
 */
#define RESCAN_MAX_BYTES (32u << 20)

/* ---- scalars */

/* The kinds of explicit tags; all other tags mean text, as they do to kubectl. */
static const struct {
    const char *tag;
    enum yaml_scalar_kind kind;
} scalar_tags[] = {
    {YAML_NULL_TAG, SCALAR_NULL},
    {YAML_BOOL_TAG, SCALAR_BOOL},
    {YAML_INT_TAG, SCALAR_NUMBER},
    {YAML_FLOAT_TAG, SCALAR_NUMBER},
};

static enum yaml_scalar_kind tag_kind(const char *tag)
{
    for (size_t i = 0; i < ELEMENTS_OF(scalar_tags); i++)
        if (streq(tag, scalar_tags[i].tag))
            return scalar_tags[i].kind;
    return SCALAR_TEXT;
}

/* ---- UTF-8 */

/* Return: the length of the well-formed sequence at @p, or 0. Source: RFC 3629, section 4. */
static size_t utf8_length(const uint8_t *p, size_t len)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 0 || n > len || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates and values above U+10FFFF show in the second byte */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static bool utf8_is_valid(const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length((const uint8_t *)text + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* ---- building a document */

struct anchor {
    char *name;
    const cJSON *value; /* borrowed from the document under construction */
    bool is_complete;   /* false while the value is open: an alias inside of it is an error */
};

/* An open mapping or sequence. */
struct frame {
    cJSON *node;     /* borrowed from its parent */
    char *key;       /* owned; the mapping's key that has no value yet */
    bool is_merging; /* the key was << */
    cJSON *merges;   /* borrowed from builder.kept: an array of the values of << */
    void *seen;      /* tsearch(3) tree of the mapping's members by key */
    size_t n_anchor; /* 1 + the index of its anchor, or 0 */
};

struct builder {
    yaml_parser_t parser;
    size_t lines_before; /* lines of the stream above this part */
    bool keeps_nul;      /* strings may have NULs, as JSON_NUL */
    struct error *e;
    cJSON *root; /* owned; the document, as far as it is built */
    cJSON *kept; /* owned array: values of merges and keys, which anchors may name */
    struct frame frames[YAML_MAX_DEPTH];
    size_t depth;
    struct anchor anchors[MAX_ANCHORS];
    size_t n_anchors;
    size_t n_values;
    size_t copied_bytes;
    size_t root_line;
};

/* For tdestroy(3): the members belong to their mapping. */
static void keep_member(void *member)
{
}

static void builder_reset(struct builder *b)
{
    for (size_t i = 0; i < b->depth; i++) {
        free(b->frames[i].key);
        tdestroy(b->frames[i].seen, keep_member);
    }
    for (size_t i = 0; i < b->n_anchors; i++)
        free(b->anchors[i].name);
    cJSON_Delete(b->root);
    cJSON_Delete(b->kept);
    b->root = b->kept = NULL;
    b->depth = b->n_anchors = b->n_values = b->copied_bytes = b->root_line = 0;
}

static struct builder *builder_free(struct builder *b)
{
    if (b == NULL)
        return NULL;
    builder_reset(b);
    yaml_parser_delete(&b->parser);
    free(b);
    return NULL;
}
DEFINE_CLEANUP(struct builder *, builder_free)

static struct builder *builder_new(void)
{
    struct builder *b = calloc(1, sizeof(*b));

    if (b == NULL || !yaml_parser_initialize(&b->parser)) {
        free(b);
        return NULL;
    }
    return b;
}

/* Put line and column in front of the error. Return: @code. */
static int error_at(struct builder *b, const yaml_mark_t *mark, int code)
{
    return error_prefix(b->e, code, "line %zu, column %zu", b->lines_before + mark->line + 1,
                        mark->column + 1);
}

static int out_of_memory(struct builder *b)
{
    return error_set_errno(b->e, -ENOMEM, "cannot parse the document");
}

static int too_much(struct builder *b, const yaml_mark_t *mark)
{
    return error_at(b, mark,
                    error_set(b->e, -EINVAL,
                              "the document has more than %u values, or its aliases copy more than "
                              "%u MiB: divide it",
                              YAML_MAX_VALUES, YAML_MAX_BYTES >> 20));
}

static int too_deep(struct builder *b, const yaml_mark_t *mark)
{
    return error_at(
        b, mark,
        error_set(b->e, -EINVAL, "the document nests deeper than %u levels", YAML_MAX_DEPTH));
}

/* The size of a value, itself included. */
struct extent {
    size_t n_values;
    size_t bytes;
    size_t depth; /* of mappings and sequences; a scalar's is 0 */
};

static bool is_container(const cJSON *value)
{
    return cJSON_IsArray(value) || cJSON_IsObject(value);
}

static struct extent extent_of(const cJSON *value)
{
    struct extent all = {.n_values = 1, .depth = is_container(value)};
    const cJSON *child;

    if (cJSON_IsString(value))
        all.bytes = strlen(value->valuestring);
    if (value->string != NULL)
        all.bytes += strlen(value->string);
    cJSON_ArrayForEach (child, value) {
        struct extent one = extent_of(child);

        all.n_values += one.n_values;
        all.bytes += one.bytes;
        if (all.depth < one.depth + 1)
            all.depth = one.depth + 1;
    }
    return all;
}

/* Copy the value of an alias or a merge, within the document's limits. */
static int copy_value(struct builder *b, const cJSON *value, const yaml_mark_t *mark,
                      cJSON **ret_copy)
{
    struct extent extent = extent_of(value);

    b->n_values += extent.n_values;
    b->copied_bytes += extent.bytes;
    if (b->n_values > YAML_MAX_VALUES || b->copied_bytes > YAML_MAX_BYTES)
        return too_much(b, mark);
    if (b->depth + extent.depth > YAML_MAX_DEPTH)
        return too_deep(b, mark);
    *ret_copy = cJSON_Duplicate(value, true);
    return *ret_copy != NULL ? 0 : out_of_memory(b);
}

/* Keep a value until the end of the document. @value: consumed. */
static int keep_value(struct builder *b, cJSON *value)
{
    if (b->kept == NULL)
        b->kept = cJSON_CreateArray();
    if (b->kept == NULL) {
        cJSON_Delete(value);
        return out_of_memory(b);
    }
    cJSON_AddItemToArray(b->kept, value);
    return 0;
}

static int member_compare(const void *a, const void *b)
{
    const cJSON *x = a, *y = b;

    return strcmp(x->string, y->string);
}

/* Whether the mapping already has a value for the frame's key. */
static bool frame_has_key(const struct frame *f)
{
    const cJSON like = {.string = f->key};

    return tfind(&like, &f->seen, member_compare) != NULL;
}

/* @value: consumed. @key: not in the mapping yet. */
static int frame_add(struct builder *b, struct frame *f, const char *key, cJSON *value)
{
    assert(cJSON_IsObject(f->node));
    if (!cJSON_AddItemToObject(f->node, key, value)) {
        cJSON_Delete(value);
        return out_of_memory(b);
    }
    return tsearch(value, &f->seen, member_compare) != NULL ? 0 : out_of_memory(b);
}

/* The text of a scalar that is a key. Return: the caller's; NULL when out of memory. */
static char *key_text(const cJSON *key)
{
    if (cJSON_IsBool(key))
        return strdup(cJSON_IsTrue(key) ? "true" : "false");
    return strdup(key->valuestring);
}

/* @key: consumed. */
static int frame_set_key(struct builder *b, struct frame *f, cJSON *key, const yaml_mark_t *mark)
{
    int r = 0;

    assert(key != NULL && f->key == NULL && !f->is_merging);
    if (is_container(key) || cJSON_IsNull(key) || (cJSON_IsNumber(key) && key->valuestring == NULL))
        r = error_at(
            b, mark,
            error_set(b->e, -EINVAL,
                      "invalid key, expected a string, a number of 64 bits, true or false"));
    else if ((f->key = key_text(key)) == NULL)
        r = out_of_memory(b);
    else if (frame_has_key(f))
        r = error_at(b, mark,
                     error_set(b->e, -EINVAL, "duplicate key \"%.64s\" in a mapping", f->key));
    /* kept, as an anchor may name it */
    return keep_value(b, key) < 0 && r == 0 ? -ENOMEM : r;
}

/* Add a scalar, or a container that is being opened, to the document. @value: consumed. */
static int place_value(struct builder *b, cJSON *value, const yaml_mark_t *mark)
{
    struct frame *f = b->depth > 0 ? &b->frames[b->depth - 1] : NULL;
    int r;

    if (f == NULL) {
        b->root = value;
        b->root_line = b->lines_before + mark->line + 1;
        return 0;
    }
    if (cJSON_IsArray(f->node)) {
        cJSON_AddItemToArray(f->node, value);
        return 0;
    }
    if (f->is_merging) {
        assert(f->merges != NULL && f->key == NULL);
        f->is_merging = false;
        cJSON_AddItemToArray(f->merges, value);
        return 0;
    }
    if (f->key == NULL)
        return frame_set_key(b, f, value, mark);
    r = frame_add(b, f, f->key, value);
    free(f->key);
    f->key = NULL;
    return r;
}

static int anchor_add(struct builder *b, const char *name, const cJSON *value, bool is_complete,
                      const yaml_mark_t *mark)
{
    struct anchor *a = &b->anchors[b->n_anchors];

    if (name == NULL)
        return 0;
    if (b->n_anchors == MAX_ANCHORS)
        return error_at(
            b, mark,
            error_set(b->e, -EINVAL, "the document has more than %d anchors", MAX_ANCHORS));
    a->name = strdup(name);
    if (a->name == NULL)
        return out_of_memory(b);
    a->value = value;
    a->is_complete = is_complete;
    b->n_anchors++;
    return 0;
}

/* ---- one function per kind of event */

static int make_text(struct builder *b, const char *text, size_t len, cJSON **ret_value)
{
    _cleanup_(freep) char *encoded = NULL;

    if (memchr(text, '\0', len) != NULL) {
        if (!b->keeps_nul)
            return error_set(b->e, -EINVAL, "the string contains a NUL character");
        encoded = malloc(json_encoded_max(len) + 1);
        if (encoded == NULL)
            return out_of_memory(b);
        json_encode_text(text, len, encoded);
    }
    *ret_value = cJSON_CreateString(encoded != NULL ? encoded : text);
    return *ret_value != NULL ? 0 : out_of_memory(b);
}

/*
 * Decode a !!binary scalar, as go-yaml does before a field's own base64 is decoded. What is not
 * UTF-8 is no string of JSON.
 */
static int make_binary(struct builder *b, const char *text, size_t len, cJSON **ret_value)
{
    _cleanup_(freep) char *bytes = malloc(base64_decoded_max(len) + 1);
    size_t n;

    if (bytes == NULL)
        return out_of_memory(b);
    if (base64_decode(text, len, (uint8_t *)bytes, &n) < 0)
        return error_set(b->e, -EINVAL, "the !!binary value is not valid base64");
    bytes[n] = '\0';
    if (!utf8_is_valid(bytes, n))
        return error_set(b->e, -EINVAL,
                         "the !!binary value is not text in UTF-8: remove the tag, and use data of "
                         "a Secret or binaryData of a ConfigMap");
    return make_text(b, bytes, n, ret_value);
}

/*
 * A number that may become a key, itself or by an alias, also has that key's text, in valuestring,
 * which cJSON copies and frees but does not use for numbers.
 */
static int make_number(struct builder *b, const struct yaml_scalar *s, bool may_be_key,
                       cJSON **ret_value)
{
    char buf[YAML_SCALAR_KEY_SIZE];
    const char *key = may_be_key ? yaml_scalar_key_text(s, buf) : NULL;
    cJSON *value = cJSON_CreateNumber(s->number);

    if (value != NULL && key != NULL && (value->valuestring = strdup(key)) == NULL) {
        cJSON_Delete(value);
        value = NULL;
    }
    *ret_value = value;
    return value != NULL ? 0 : out_of_memory(b);
}

static bool expects_key(const struct builder *b)
{
    const struct frame *f = b->depth > 0 ? &b->frames[b->depth - 1] : NULL;

    return f != NULL && cJSON_IsObject(f->node) && f->key == NULL && !f->is_merging;
}

static int make_scalar(struct builder *b, const yaml_event_t *event, cJSON **ret_value)
{
    const char *text = (const char *)event->data.scalar.value;
    const char *tag = (const char *)event->data.scalar.tag;
    enum yaml_scalar_kind wanted = tag != NULL ? tag_kind(tag) : SCALAR_TEXT;
    struct yaml_scalar s = {.kind = SCALAR_TEXT};

    if (tag != NULL && streq(tag, "tag:yaml.org,2002:binary"))
        return make_binary(b, text, event->data.scalar.length, ret_value);
    if ((event->data.scalar.plain_implicit || wanted != SCALAR_TEXT) &&
        strlen(text) == event->data.scalar.length)
        s = yaml_scalar_resolve(text, event->data.scalar.length);
    if (s.kind == SCALAR_NOT_FINITE)
        return error_set(b->e, -EINVAL,
                         "invalid number, expected a finite one: quote the value if it is text");
    if (wanted != SCALAR_TEXT && s.kind != wanted)
        return error_set(b->e, -EINVAL, "the value does not match its tag");
    switch (s.kind) {
    case SCALAR_NULL:
        *ret_value = cJSON_CreateNull();
        break;
    case SCALAR_BOOL:
        *ret_value = cJSON_CreateBool(s.is_true);
        break;
    case SCALAR_NUMBER:
        return make_number(b, &s, expects_key(b) || event->data.scalar.anchor != NULL, ret_value);
    case SCALAR_TEXT:
    case SCALAR_NOT_FINITE:
        return make_text(b, text, event->data.scalar.length, ret_value);
    }
    return *ret_value != NULL ? 0 : out_of_memory(b);
}

static int begin_merge(struct builder *b, struct frame *f)
{
    if (f->merges == NULL) {
        cJSON *merges = cJSON_CreateArray();

        if (merges == NULL || keep_value(b, merges) < 0)
            return out_of_memory(b);
        f->merges = merges;
    }
    f->is_merging = true;
    return 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *event)
{
    const yaml_mark_t *mark = &event->start_mark;
    cJSON *value = NULL;
    int r;

    if (expects_key(b) && event->data.scalar.plain_implicit &&
        streq((const char *)event->data.scalar.value, "<<")) {
        return begin_merge(b, &b->frames[b->depth - 1]);
    }
    if (++b->n_values > YAML_MAX_VALUES)
        return too_much(b, mark);
    r = make_scalar(b, event, &value);
    if (r < 0)
        return r == -ENOMEM ? r : error_at(b, mark, r);
    r = place_value(b, value, mark);
    return r < 0 ? r : anchor_add(b, (const char *)event->data.scalar.anchor, value, true, mark);
}

static int on_alias(struct builder *b, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    const yaml_mark_t *mark = &event->start_mark;
    const struct anchor *a = NULL;
    cJSON *copy = NULL;
    int r;

    for (size_t i = b->n_anchors; i > 0 && a == NULL; i--)
        if (streq(b->anchors[i - 1].name, name))
            a = &b->anchors[i - 1];
    if (a == NULL)
        return error_at(b, mark,
                        error_set(b->e, -EINVAL,
                                  "an alias (*) names an unknown anchor: quote the value if it is "
                                  "text"));
    if (!a->is_complete)
        return error_at(b, mark, error_set(b->e, -EINVAL, "an alias (*) refers to itself"));
    r = copy_value(b, a->value, mark, &copy);
    return copy != NULL ? place_value(b, copy, mark) : r;
}

static int on_open(struct builder *b, const yaml_mark_t *mark, const char *anchor, cJSON *node)
{
    int r;

    if (node == NULL)
        return out_of_memory(b);
    if (b->depth == YAML_MAX_DEPTH || ++b->n_values > YAML_MAX_VALUES) {
        cJSON_Delete(node);
        return b->depth == YAML_MAX_DEPTH ? too_deep(b, mark) : too_much(b, mark);
    }
    r = place_value(b, node, mark);
    if (r < 0)
        return r;
    r = anchor_add(b, anchor, node, false, mark);
    if (r < 0)
        return r;
    assert(b->depth < YAML_MAX_DEPTH && b->n_anchors <= MAX_ANCHORS);
    b->frames[b->depth++] =
        (struct frame){.node = node, .n_anchor = anchor != NULL ? b->n_anchors : 0};
    return 0;
}

/* Copy the members of @from that the mapping does not have. */
static int merge_mapping(struct builder *b, struct frame *f, const cJSON *from,
                         const yaml_mark_t *mark)
{
    const cJSON *member;
    int r = 0;

    if (!cJSON_IsObject(from))
        return error_at(b, mark,
                        error_set(b->e, -EINVAL,
                                  "invalid value of <<, expected a mapping or a list of mappings"));
    cJSON_ArrayForEach (member, from) {
        cJSON *copy = NULL;

        if (tfind(member, &f->seen, member_compare) != NULL)
            continue;
        r = copy_value(b, member, mark, &copy);
        if (r >= 0)
            r = frame_add(b, f, member->string, copy);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The first of several mappings in a list wins, as in go-yaml. */
static int merge_value(struct builder *b, struct frame *f, const cJSON *value,
                       const yaml_mark_t *mark)
{
    const cJSON *from;

    if (!cJSON_IsArray(value))
        return merge_mapping(b, f, value, mark);
    cJSON_ArrayForEach (from, value) {
        int r = merge_mapping(b, f, from, mark);

        if (r < 0)
            return r;
    }
    return 0;
}

/* Called when the mapping ends: its own keys win over merged ones, and the last << over others. */
static int merge_all(struct builder *b, struct frame *f, const yaml_mark_t *mark)
{
    cJSON *merges = f->merges;
    int n = cJSON_GetArraySize(merges), r = 0;
    const cJSON *value = n > 0 ? merges->child->prev : NULL; /* the first one's prev is the last */

    for (; n > 0 && r >= 0; n--, value = value->prev)
        r = merge_value(b, f, value, mark);
    return r;
}

static int on_close(struct builder *b, const yaml_event_t *event)
{
    struct frame *f = &b->frames[b->depth - 1];
    int r;

    assert(b->depth > 0);
    r = f->merges != NULL ? merge_all(b, f, &event->start_mark) : 0;
    tdestroy(f->seen, keep_member);
    f->seen = NULL;
    assert(f->n_anchor <= b->n_anchors && f->key == NULL && !f->is_merging);
    if (f->n_anchor > 0)
        b->anchors[f->n_anchor - 1].is_complete = true;
    b->depth--;
    return r;
}

static int on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_ALIAS_EVENT:
        return on_alias(b, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, &event->start_mark, (const char *)event->data.mapping_start.anchor,
                       cJSON_CreateObject());
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, &event->start_mark, (const char *)event->data.sequence_start.anchor,
                       cJSON_CreateArray());
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_close(b, event);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

/* ---- streams */

/* What differs between the functions of yaml.h. */
enum yaml_mode {
    MODE_VERBATIM, /* a last line without a newline stays as it is */
    MODE_ONE,      /* it gets one */
    MODE_OBJECTS,  /* the same, and strings may have NULs, as JSON_NUL */
};

/* A part of the stream between two "---" lines. */
struct part {
    const char *text;
    size_t len;
    size_t lines_before;
    enum yaml_mode mode;
};

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;

    for (const char *p = text; (p = memchr(p, '\n', len - (size_t)(p - text))) != NULL; p++)
        n++;
    return n;
}

static int syntax_error(struct builder *b, const struct part *part)
{
    const yaml_parser_t *p = &b->parser;
    yaml_mark_t mark = p->problem_mark;
    const char *problem = p->problem != NULL ? p->problem : "invalid YAML";

    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(b);
    /* a forbidden character: libyaml reports its offset only */
    if (p->error == YAML_READER_ERROR)
        mark =
            (yaml_mark_t){.line = count_lines(part->text, size_min(p->problem_offset, part->len))};
    return error_at(b, &mark,
                    p->context != NULL ? error_set(b->e, -EINVAL, "%s, %s", p->context, problem)
                                       : error_set(b->e, -EINVAL, "%s", problem));
}

static int report_document(struct builder *b, const struct part *part, yaml_document_fn *found,
                           void *userdata)
{
    struct yaml_document document = {.json = TAKE(b->root),
                                     .line = b->root_line,
                                     .text = part->text,
                                     .len = part->len,
                                     .text_line = part->lines_before + 1};
    int r = 0;

    assert(b->depth == 0);
    if (document.json != NULL && !cJSON_IsNull(document.json))
        r = found(userdata, &document);
    cJSON_Delete(document.json);
    builder_reset(b);
    return r;
}

/* Return: as yaml_parse_documents(); *ret_bad is set if the document is invalid. */
static int run_parser(struct builder *b, const struct part *part, yaml_document_fn *found,
                      void *userdata, bool *ret_bad)
{
    for (;;) {
        yaml_event_t event;
        yaml_event_type_t type;
        int r;

        if (!yaml_parser_parse(&b->parser, &event)) {
            *ret_bad = true;
            return syntax_error(b, part);
        }
        type = event.type;
        r = on_event(b, &event);
        yaml_event_delete(&event);
        if (r < 0) {
            *ret_bad = true;
            return r;
        }
        if (type == YAML_DOCUMENT_END_EVENT)
            r = report_document(b, part, found, userdata);
        if (r != 0 || type == YAML_STREAM_END_EVENT)
            return r;
    }
}

/* The text of a part; a last line without a newline gets one if the stream has that. */
struct input {
    const char *at;
    size_t left;
    bool lacks_newline;
};

static int read_input(void *userdata, unsigned char *buffer, size_t size, size_t *ret_n)
{
    struct input *in = userdata;
    size_t n = size_min(size, in->left);

    memcpy(buffer, in->at, n);
    in->at += n;
    in->left -= n;
    if (n < size && in->lacks_newline) {
        buffer[n++] = '\n';
        in->lacks_newline = false;
    }
    *ret_n = n;
    return 1;
}

/* Scan up to an error. Return: the byte offset of \' in a double-quoted scalar, SIZE_MAX if the
 * error is another one, or none. */
static size_t find_refused_quote(const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_token_t token;
    bool is_end = false;
    size_t at;

    if (!yaml_parser_initialize(&parser))
        return SIZE_MAX;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (!is_end && yaml_parser_scan(&parser, &token)) {
        is_end = token.type == YAML_STREAM_END_TOKEN;
        yaml_token_delete(&token);
    }
    /* what was read, less what waits in the buffer, is what was consumed; at the end of the text
     * the buffer has a NUL more */
    at = parser.offset + (parser.eof != 0) - (size_t)(parser.buffer.last - parser.buffer.pointer);
    if (is_end || parser.error != YAML_SCANNER_ERROR || at + 1 >= len || text[at] != '\\' ||
        text[at + 1] != '\'')
        at = SIZE_MAX;
    yaml_parser_delete(&parser);
    return at;
}

/* Remove the backslash of each \' up to the end of the scalar. Return: the new length. */
static size_t remove_refused(char *text, size_t len, size_t at)
{
    size_t to = at, from = at;

    while (from < len && text[from] != '"') {
        if (text[from] == '\\' && from + 1 < len) {
            if (text[from + 1] != '\'')
                text[to++] = text[from];
            from++;
        }
        text[to++] = text[from++];
    }
    memmove(text + to, text + from, len - from);
    return to + len - from;
}

/*
 * go-yaml takes \' in double quotes for ', and libyaml refuses it. Only a scan tells which \' is in
 * double quotes, and it ends there; so each such string costs one. Columns of later errors move.
 * Return: 0, and *ret_text is the caller's copy without them, or NULL if there are none; -ENOMEM.
 */
static int accept_quotes(const struct part *part, char **ret_text, size_t *ret_len)
{
    _cleanup_(freep) char *copy = NULL;
    size_t len = part->len, scanned = 0, at;

    if (memmem(part->text, len, "\\'", 2) == NULL)
        return 0;
    copy = malloc(len);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, part->text, len);
    while (scanned <= RESCAN_MAX_BYTES && (at = find_refused_quote(copy, len)) != SIZE_MAX) {
        scanned += len;
        len = remove_refused(copy, len, at);
    }
    *ret_text = TAKE(copy);
    *ret_len = len;
    return 0;
}

static int parse_yaml(const struct part *part, yaml_document_fn *found, void *userdata)
{
    _cleanup_(freep) char *accepted = NULL;
    struct input input = {.at = part->text, .left = part->len};
    _cleanup_(builder_freep) struct builder *b = builder_new();
    struct yaml_document bad = {.error = ERROR_INIT};
    bool is_bad = false;
    int r;

    if (b == NULL || accept_quotes(part, &accepted, &input.left) < 0)
        return -ENOMEM;
    if (accepted != NULL)
        input.at = accepted;
    input.lacks_newline =
        part->mode != MODE_VERBATIM && input.left > 0 && input.at[input.left - 1] != '\n';
    b->lines_before = part->lines_before;
    b->keeps_nul = part->mode == MODE_OBJECTS;
    b->e = &bad.error;
    yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input(&b->parser, read_input, &input);
    r = run_parser(b, part, found, userdata, &is_bad);
    if (!is_bad)
        return r;
    bad.result = r;
    bad.line = b->root_line > 0 ? b->root_line : part->lines_before + 1;
    return found(userdata, &bad);
}

/* Check what cJSON does not: duplicate keys and the depth. */
static int check_json(const cJSON *json, size_t depth, struct error *e)
{
    void *seen = NULL;
    cJSON *child;
    int r = 0;

    if (depth == YAML_MAX_DEPTH && is_container(json))
        return error_set(e, -EINVAL, "the document nests deeper than %u levels", YAML_MAX_DEPTH);
    cJSON_ArrayForEach (child, json) {
        if (child->string != NULL) {
            cJSON *const *node = tsearch(child, &seen, member_compare);

            if (node == NULL)
                r = error_set_errno(e, -ENOMEM, "cannot parse the document");
            else if (*node != child)
                r = error_set(e, -EINVAL, "duplicate key \"%.64s\" in a mapping", child->string);
        }
        if (r >= 0)
            r = check_json(child, depth + 1, e);
        if (r < 0)
            break;
    }
    tdestroy(seen, keep_member);
    return r;
}

static int report_json(struct yaml_document *document, yaml_document_fn *found, void *userdata)
{
    int r;

    document->result = check_json(document->json, 0, &document->error);
    if (document->result < 0) {
        error_prefix(&document->error, 0, "line %zu", document->line);
        cJSON_Delete(TAKE(document->json));
    }
    r = found(userdata, document);
    cJSON_Delete(document->json);
    return r;
}

/* What follows @at on its line, if it is not blank, or else the next line. */
static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r", *at) != NULL)
        at++;
    return at < end && *at == '\n' ? at + 1 : at;
}

static bool is_blank(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n", *at) != NULL)
        at++;
    return at == end;
}

/* What follows it is not read: its end is not known. */
static int report_too_much(size_t line, yaml_document_fn *found, void *userdata)
{
    struct yaml_document bad = {.line = line, .result = -EINVAL, .error = ERROR_INIT};

    error_set(&bad.error, -EINVAL, "line %zu: the document has more than %u values: divide it",
              line, YAML_MAX_VALUES);
    return found(userdata, &bad);
}

static int report_bad_stream(size_t line, yaml_document_fn *found, void *userdata)
{
    struct yaml_document bad = {.line = line, .result = -EINVAL, .error = ERROR_INIT};

    error_set(&bad.error, -EINVAL, "line %zu: invalid JSON after a document of JSON", line);
    return found(userdata, &bad);
}

/*
 * A stream of JSON has its values one after the other, also on one line. As in Kubernetes, what
 * follows the first one may be YAML instead.
 * Return: 1 if the part is not JSON; otherwise as yaml_parse_documents().
 */
#define NOT_JSON 1
static int parse_json(const struct part *part, const char *from, yaml_document_fn *found,
                      void *userdata)
{
    const char *at = from, *end = part->text + part->len;
    size_t lines = part->lines_before + count_lines(part->text, (size_t)(from - part->text));
    size_t n = 0;

    while (n == 0 || !is_blank(at, end)) {
        struct yaml_document document = {.error = ERROR_INIT};
        const char *next = at;
        int r;

        while (next < end && strchr(" \t\r\n", *next) != NULL)
            next++;
        document.line = lines + count_lines(at, (size_t)(next - at)) + 1;
        document.text = next;
        document.text_line = document.line;
        r = json_parse_prefix(next, (size_t)(end - next), part->mode == MODE_OBJECTS,
                              &document.json, &next, NULL);
        if (r == -ENOMEM)
            return r;
        if (r == -E2BIG)
            return report_too_much(document.line, found, userdata);
        if (r < 0 && n == 0)
            return NOT_JSON;
        if (r < 0 && n > 1)
            return report_bad_stream(document.line, found, userdata);
        if (r < 0) {
            struct part rest = *part;

            rest.text = at;
            rest.len = (size_t)(end - at);
            rest.lines_before = lines;
            return parse_yaml(&rest, found, userdata);
        }
        document.len = (size_t)(next - document.text);
        r = report_json(&document, found, userdata);
        if (r != 0)
            return r;
        next = skip_blanks(next, end);
        lines += count_lines(at, (size_t)(next - at));
        at = next;
        n++;
    }
    return 0;
}

static bool is_separator(const char *line, const char *end)
{
    return end - line >= 3 && memcmp(line, "---", 3) == 0 &&
           (end - line == 3 || strchr(" \t\r\n", line[3]) != NULL);
}

/* Blank, a comment, or a directive such as %YAML, which belongs to the document that follows. */
static bool is_preamble(const char *line, const char *end)
{
    if (line < end && *line == '%')
        return true;
    while (line < end && strchr(" \t\r\n", *line) != NULL)
        line++;
    return line == end || *line == '#';
}

/* Return: the end of the part that begins at @text: the next separator after content. */
static const char *part_end(const char *text, const char *end)
{
    bool has_content = false;

    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline != NULL ? newline + 1 : end;

        if (has_content && is_separator(line, end))
            return line;
        has_content = has_content || !is_preamble(line, next);
        line = next;
    }
    return end;
}

/*
 * A byte order mark behind a "---" line, as in files that were put together: libyaml would count it
 * as a column. What stands above it has no content.
 */
static void skip_mark(struct part *part)
{
    const char *end = part->text + part->len;

    for (const char *line = part->text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline != NULL ? newline + 1 : end;

        if (end - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            part->lines_before += count_lines(part->text, (size_t)(line - part->text));
            part->text = line + 3;
            part->len = (size_t)(end - part->text);
            return;
        }
        if (!is_preamble(line, next) && !(is_separator(line, end) && is_preamble(line + 3, next)))
            return;
        line = next;
    }
}

static int parse_part(const struct part *part, yaml_document_fn *found, void *userdata)
{
    const char *p = part->text, *end = part->text + part->len;
    int r = NOT_JSON;

    if (is_separator(p, end))
        p += 3;
    while (p < end && strchr(" \t\r\n", *p) != NULL)
        p++;
    if (p < end && (*p == '{' || *p == '['))
        r = parse_json(part, p, found, userdata);
    return r == NOT_JSON ? parse_yaml(part, found, userdata) : r;
}

static int check_text(const char *text, size_t len, struct error *e)
{
    size_t line = 1;

    if (len > YAML_MAX_BYTES)
        return error_set(e, -EINVAL, "the text of %zu bytes is larger than the limit of %u", len,
                         YAML_MAX_BYTES);
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length((const uint8_t *)text + i, len - i);
        if (n == 0)
            return error_set(
                e, -EINVAL,
                "line %zu: the text is not UTF-8: save it as UTF-8, and use base64 for "
                "binary values",
                line);
        if (text[i] == '\0')
            return error_set(
                e, -EINVAL, "line %zu: the text contains a NUL byte: it is not YAML or JSON", line);
        line += text[i] == '\n';
    }
    return 0;
}

static int parse_documents(const char *text, size_t len, enum yaml_mode mode,
                           yaml_document_fn *found, void *userdata, struct error *e)
{
    const char *end = text + len;
    size_t lines_before = 0;
    int r = check_text(text, len, e);

    if (r < 0)
        return r;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3; /* a byte order mark, as some editors write it */
    while (text < end) {
        struct part part = {.text = text, .lines_before = lines_before, .mode = mode};
        const char *next = part_end(text, end);

        part.len = (size_t)(next - text);
        skip_mark(&part);
        r = parse_part(&part, found, userdata);
        if (r != 0)
            return r;
        lines_before += count_lines(text, (size_t)(next - text));
        text = next;
    }
    return 0;
}

int yaml_parse_documents(const char *text, size_t len, yaml_document_fn *found, void *userdata,
                         struct error *e)
{
    return parse_documents(text, len, MODE_OBJECTS, found, userdata, e);
}

/* ---- a single document */

struct one {
    cJSON *json;
    struct error *e;
};

static int on_one(void *userdata, struct yaml_document *document)
{
    struct one *one = userdata;

    if (document->result < 0)
        return error_set(one->e, document->result, "%s", document->error.text);
    if (one->json != NULL)
        return error_set(one->e, -EINVAL,
                         "line %zu: unexpected second document: remove one of the two",
                         document->line);
    one->json = TAKE(document->json);
    return 0;
}

static int parse_one(const char *text, size_t len, enum yaml_mode mode, cJSON **ret_json,
                     struct error *e)
{
    struct one one = {.e = e};
    int r = parse_documents(text, len, mode, on_one, &one, e);

    if (r >= 0 && one.json == NULL) {
        one.json = cJSON_CreateNull();
        r = one.json != NULL ? 0 : -ENOMEM;
    }
    if (r < 0) {
        cJSON_Delete(one.json);
        return r;
    }
    *ret_json = one.json;
    return 0;
}

int yaml_parse_one(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    return parse_one(text, len, MODE_ONE, ret_json, e);
}

int yaml_parse_verbatim(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    return parse_one(text, len, MODE_VERBATIM, ret_json, e);
}
