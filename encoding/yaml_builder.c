/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain scalar has its meaning to kubectl (sigs.k8s.io/yaml, which is go-yaml v2): the words of
 * YAML 1.1, so y, yes and on are true; 0x1F, 0o17, 017, 0b11 and 1_000 are integers; 08 is a float;
 * dates are strings. A quoted scalar is a string. A key that is a number or a boolean becomes its
 * JSON text, so that the key `on` is "true", as in a cluster.
 *
 * Stricter than kubectl: a duplicate key in a mapping is an error; kubectl silently drops one of
 * the two values. More lenient: a key of the mapping itself wins over a merged one (<<) in any
 * order.
 *
 * Values may be secret. So errors name places and keys, but no values, anchors or tags: an unquoted
 * password may begin with * or !.
 *
 * An alias becomes a copy of its value. All copies of a document together are limited in number,
 * bytes and depth, which stops a "billion laughs" attack.
 */
#include "encoding/yaml_builder.h"

#include <search.h>
#include <stdlib.h>

#include "encoding/base64.h"
#include "encoding/utf8.h"
#include "encoding/yaml_scalar.h"

#define MAX_ANCHORS 1000 /* a linear search finds them */

/* ---- the builder */

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

struct yaml_builder {
    size_t lines_before; /* lines of the stream above the first event's text */
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

static void builder_reset(struct yaml_builder *b)
{
    for (size_t i = 0; i < b->depth; i++) {
        free(b->frames[i].key);
        tdestroy(b->frames[i].seen, json_member_keep);
    }
    for (size_t i = 0; i < b->n_anchors; i++)
        free(b->anchors[i].name);
    cJSON_Delete(b->root);
    cJSON_Delete(b->kept);
    b->root = b->kept = NULL;
    b->depth = b->n_anchors = b->n_values = b->copied_bytes = b->root_line = 0;
}

struct yaml_builder *yaml_builder_new(size_t lines_before, bool keeps_nul, struct error *e)
{
    struct yaml_builder *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return NULL;
    b->lines_before = lines_before;
    b->keeps_nul = keeps_nul;
    b->e = e;
    return b;
}

struct yaml_builder *yaml_builder_free(struct yaml_builder *b)
{
    if (b == NULL)
        return NULL;
    builder_reset(b);
    free(b);
    return NULL;
}

/* Put line and column in front of the error. Return: @code. */
static int error_at(struct yaml_builder *b, const yaml_mark_t *mark, int code)
{
    return error_prefix(b->e, code, "line %zu, column %zu", b->lines_before + mark->line + 1,
                        mark->column + 1);
}

static int out_of_memory(struct yaml_builder *b)
{
    return error_set_errno(b->e, -ENOMEM, "cannot parse the document");
}

static int too_much(struct yaml_builder *b, const yaml_mark_t *mark)
{
    return error_at(b, mark,
                    error_set(b->e, -EINVAL,
                              "the document has more than %u values, or its aliases copy more than "
                              "%u MiB: divide it",
                              YAML_MAX_VALUES, YAML_MAX_BYTES >> 20));
}

static int too_deep(struct yaml_builder *b, const yaml_mark_t *mark)
{
    return error_at(
        b, mark,
        error_set(b->e, -EINVAL, "the document nests deeper than %u levels", YAML_MAX_DEPTH));
}

/* ---- values */

/* The size of a value, itself included. */
struct extent {
    size_t n_values;
    size_t bytes;
    size_t depth; /* of mappings and sequences; a scalar's is 0 */
};

static struct extent extent_of(const cJSON *value)
{
    struct extent all = {.n_values = 1, .depth = json_is_container(value)};
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
static int copy_value(struct yaml_builder *b, const cJSON *value, const yaml_mark_t *mark,
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
static int keep_value(struct yaml_builder *b, cJSON *value)
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

/* Whether the mapping already has a value for the frame's key. */
static bool frame_has_key(const struct frame *f)
{
    const cJSON like = {.string = f->key};

    return tfind(&like, &f->seen, json_member_compare) != NULL;
}

/* @value: consumed. @key: not in the mapping yet. */
static int frame_add(struct yaml_builder *b, struct frame *f, const char *key, cJSON *value)
{
    assert(cJSON_IsObject(f->node));
    if (!cJSON_AddItemToObject(f->node, key, value)) {
        cJSON_Delete(value);
        return out_of_memory(b);
    }
    return tsearch(value, &f->seen, json_member_compare) != NULL ? 0 : out_of_memory(b);
}

/* The text of a scalar that is a key. Return: the caller's; NULL when out of memory. */
static char *key_text(const cJSON *key)
{
    if (cJSON_IsBool(key))
        return strdup(cJSON_IsTrue(key) ? "true" : "false");
    return strdup(key->valuestring);
}

/* @key: consumed. */
static int frame_set_key(struct yaml_builder *b, struct frame *f, cJSON *key,
                         const yaml_mark_t *mark)
{
    int r = 0;

    assert(key != NULL && f->key == NULL && !f->is_merging);
    if (json_is_container(key) || cJSON_IsNull(key) ||
        (cJSON_IsNumber(key) && key->valuestring == NULL))
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
static int place_value(struct yaml_builder *b, cJSON *value, const yaml_mark_t *mark)
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

static int anchor_add(struct yaml_builder *b, const char *name, const cJSON *value,
                      bool is_complete, const yaml_mark_t *mark)
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

static int make_text(struct yaml_builder *b, const char *text, size_t len, cJSON **ret_value)
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
static int make_binary(struct yaml_builder *b, const char *text, size_t len, cJSON **ret_value)
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
static int make_number(struct yaml_builder *b, const struct yaml_scalar *s, bool may_be_key,
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

static bool expects_key(const struct yaml_builder *b)
{
    const struct frame *f = b->depth > 0 ? &b->frames[b->depth - 1] : NULL;

    return f != NULL && cJSON_IsObject(f->node) && f->key == NULL && !f->is_merging;
}

static int make_scalar(struct yaml_builder *b, const yaml_event_t *event, cJSON **ret_value)
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

/* ---- events */

static int begin_merge(struct yaml_builder *b, struct frame *f)
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

static int on_scalar(struct yaml_builder *b, const yaml_event_t *event)
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

static int on_alias(struct yaml_builder *b, const yaml_event_t *event)
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

static int on_open(struct yaml_builder *b, const yaml_mark_t *mark, const char *anchor, cJSON *node)
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
static int merge_mapping(struct yaml_builder *b, struct frame *f, const cJSON *from,
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

        if (tfind(member, &f->seen, json_member_compare) != NULL)
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
static int merge_value(struct yaml_builder *b, struct frame *f, const cJSON *value,
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
static int merge_all(struct yaml_builder *b, struct frame *f, const yaml_mark_t *mark)
{
    cJSON *merges = f->merges;
    int n = cJSON_GetArraySize(merges), r = 0;
    const cJSON *value = n > 0 ? merges->child->prev : NULL; /* the first one's prev is the last */

    for (; n > 0 && r >= 0; n--, value = value->prev)
        r = merge_value(b, f, value, mark);
    return r;
}

static int on_close(struct yaml_builder *b, const yaml_event_t *event)
{
    struct frame *f = &b->frames[b->depth - 1];
    int r;

    assert(b->depth > 0);
    r = f->merges != NULL ? merge_all(b, f, &event->start_mark) : 0;
    tdestroy(f->seen, json_member_keep);
    f->seen = NULL;
    assert(f->n_anchor <= b->n_anchors && f->key == NULL && !f->is_merging);
    if (f->n_anchor > 0)
        b->anchors[f->n_anchor - 1].is_complete = true;
    b->depth--;
    return r;
}

int yaml_builder_add(struct yaml_builder *b, const yaml_event_t *event)
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

size_t yaml_builder_line(const struct yaml_builder *b)
{
    return b->root_line;
}

cJSON *yaml_builder_take(struct yaml_builder *b)
{
    cJSON *document = TAKE(b->root);

    assert(b->depth == 0);
    builder_reset(b);
    return document;
}
