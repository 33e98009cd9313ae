/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libyaml's events become a tree of places. Its marks count characters; the text's bytes are
 * counted along with them.
 *
 * A mark at the end of a block mapping or sequence is that of the next token, behind comments. So
 * its end is the end of its last value. A block scalar ends with its last line that is not blank.
 *
 * The text is valid to yaml_parse_documents(), which has found anchors, aliases and duplicate keys
 * that are invalid, and bounds depth and number of values.
 */
#include "encoding/yaml_place.h"

#include <stdlib.h>

#include <yaml.h>

struct finder {
    yaml_parser_t parser;
    const char *text; /* what the parser reads: @owned, or the caller's */
    char *owned;
    size_t len;
    size_t text_line;
    size_t index; /* a character, and its byte */
    size_t byte;
    struct yaml_place *root; /* owned; of the document that is being read */
    struct yaml_place *open; /* the mapping or sequence that is being read */
    struct error *e;
};

static void finder_deinit(struct finder *f)
{
    yaml_parser_delete(&f->parser);
    yaml_place_free(f->root);
    free(f->owned);
}

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot find the places of the document");
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Marks mostly grow, so this walks over the text once. */
static size_t byte_of(struct finder *f, size_t index)
{
    for (; f->index < index && f->byte < f->len; f->index++)
        do
            f->byte++;
        while (f->byte < f->len && is_continuation(f->text[f->byte]));
    for (; f->index > index; f->index--)
        do
            f->byte--;
        while (is_continuation(f->text[f->byte]));
    return f->byte;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ---- the tree */

struct yaml_place *yaml_place_free(struct yaml_place *root)
{
    struct yaml_place *next;

    if (root == NULL)
        return NULL;
    for (struct yaml_place *child = root->child; child != NULL; child = next) {
        next = child->next;
        yaml_place_free(child);
    }
    free(root->value);
    free(root);
    return NULL;
}

const struct yaml_place *yaml_place_key(const struct yaml_place *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != PLACE_MAPPING)
        return NULL;
    for (const struct yaml_place *k = mapping->child; k != NULL; k = k->next->next)
        if (k->kind == PLACE_SCALAR && streq(k->value, key))
            return k;
    return NULL;
}

const struct yaml_place *yaml_place_member(const struct yaml_place *mapping, const char *key)
{
    const struct yaml_place *k = yaml_place_key(mapping, key);

    return k != NULL ? k->next : NULL;
}

static void place_link(struct finder *f, struct yaml_place *place)
{
    struct yaml_place *parent = f->open;

    place->parent = parent;
    if (parent == NULL)
        f->root = place;
    else if (parent->last_child == NULL)
        parent->child = place;
    else
        parent->last_child->next = place;
    if (parent != NULL)
        parent->last_child = place;
}

/* Add a value that begins with @event. Return: NULL when out of memory. */
static struct yaml_place *place_add(struct finder *f, const yaml_event_t *event,
                                    enum yaml_place_kind kind, const yaml_char_t *anchor)
{
    struct yaml_place *place = calloc(1, sizeof(*place));

    if (place == NULL)
        return NULL;
    place->kind = kind;
    place->has_anchor = anchor != NULL;
    place->begin = byte_of(f, event->start_mark.index);
    place->end = byte_of(f, event->end_mark.index);
    place->line = f->text_line + event->start_mark.line;
    place->column = event->start_mark.column;
    place_link(f, place);
    return place;
}

/* ---- events */

static int on_scalar(struct finder *f, const yaml_event_t *event)
{
    struct yaml_place *place = place_add(f, event, PLACE_SCALAR, event->data.scalar.anchor);

    if (place == NULL)
        return -ENOMEM;
    while (place->end > place->begin && is_space(f->text[place->end - 1]))
        place->end--;
    place->value = strdup((const char *)event->data.scalar.value);
    return place->value != NULL ? 0 : -ENOMEM;
}

static int on_open(struct finder *f, const yaml_event_t *event)
{
    bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
    struct yaml_place *place =
        is_mapping ? place_add(f, event, PLACE_MAPPING, event->data.mapping_start.anchor)
                   : place_add(f, event, PLACE_SEQUENCE, event->data.sequence_start.anchor);

    if (place == NULL)
        return -ENOMEM;
    place->is_flow = is_mapping ? event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE
                                : event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
    f->open = place;
    return 0;
}

/* A mapping of one pair in a flow sequence has no brackets; its end is that of its last value. */
static void on_close(struct finder *f, const yaml_event_t *event)
{
    struct yaml_place *place = f->open;
    size_t end = byte_of(f, event->end_mark.index);
    bool is_closed = place->is_flow && end > place->begin && strchr("]}", f->text[end - 1]) != NULL;

    place->end = is_closed || place->last_child == NULL ? end : place->last_child->end;
    f->open = place->parent;
}

static int on_event(struct finder *f, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(f, event);
    case YAML_ALIAS_EVENT:
        return place_add(f, event, PLACE_ALIAS, NULL) != NULL ? 0 : -ENOMEM;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return on_open(f, event);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        on_close(f, event);
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

static int syntax_error(struct finder *f)
{
    if (f->parser.error == YAML_MEMORY_ERROR)
        return out_of_memory(f->e);
    return error_set(f->e, -EINVAL, "line %zu: %s",
                     f->text_line +
                         (f->parser.error == YAML_READER_ERROR ? 0 : f->parser.problem_mark.line),
                     f->parser.problem != NULL ? f->parser.problem : "invalid YAML");
}

/* Read up to the end of the next document. Return: 1; 0 at the end of the text; -errno with @e. */
static int read_document(struct finder *f)
{
    for (;;) {
        yaml_event_t event;
        yaml_event_type_t type;
        int r;

        if (!yaml_parser_parse(&f->parser, &event))
            return syntax_error(f);
        type = event.type;
        r = on_event(f, &event);
        yaml_event_delete(&event);
        if (r < 0)
            return out_of_memory(f->e);
        if (type == YAML_DOCUMENT_END_EVENT || type == YAML_STREAM_END_EVENT)
            return type == YAML_DOCUMENT_END_EVENT;
    }
}

/* ---- JSON */

static bool is_surrogate(const char *at, const char *end)
{
    return end - at >= 6 && at[1] == 'u' && (at[2] == 'd' || at[2] == 'D') && at[3] != '\0' &&
           strchr("89abcdefABCDEF", at[3]) != NULL;
}

/* libyaml refuses the surrogate pairs of JSON: read an escape of the same length in their place. */
static int replace_surrogates(struct finder *f)
{
    char *end;

    if (f->len == 0 || (*f->text != '{' && *f->text != '[') ||
        memmem(f->text, f->len, "\\u", 2) == NULL)
        return 0;
    f->owned = malloc(f->len);
    if (f->owned == NULL)
        return out_of_memory(f->e);
    memcpy(f->owned, f->text, f->len);
    f->text = f->owned;
    end = f->owned + f->len;
    for (char *at = f->owned; (at = memchr(at, '\\', (size_t)(end - at))) != NULL;) {
        if (is_surrogate(at, end))
            memset(at + 2, '4', 4);
        at += end - at >= 2 ? 2 : 1;
    }
    return 0;
}

static int finder_init(struct finder *f)
{
    int r;

    if (!yaml_parser_initialize(&f->parser))
        return out_of_memory(f->e);
    r = replace_surrogates(f);
    if (r < 0)
        return r;
    yaml_parser_set_encoding(&f->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&f->parser, (const unsigned char *)f->text, f->len);
    return 0;
}

int yaml_place_parse(const char *text, size_t len, size_t text_line, size_t root_line,
                     struct yaml_place **ret_root, struct error *e)
{
    _cleanup_(finder_deinit) struct finder f = {
        .text = text, .len = len, .text_line = text_line, .e = e};
    int r = finder_init(&f);

    while (r >= 0) {
        r = read_document(&f);
        if (r == 0)
            return error_set(e, -EINVAL, "line %zu: no document begins there", root_line);
        if (r > 0 && f.root != NULL && f.root->line == root_line) {
            *ret_root = TAKE(f.root);
            return 0;
        }
        f.root = r > 0 ? yaml_place_free(f.root) : f.root;
    }
    return r;
}
