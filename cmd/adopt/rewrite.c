/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The csi volumes stand behind the last volume, where the policy adds them, in the form of the
 * volumes that they show:
 *
 *     - name: a-secretfs             in a block, each entry is a number of whole lines. What is
 *       secret: {secretName: x}      added begins behind the last entry's last line, with the
 *     - name: a                      line break in front of it, so that a last line without one
 *       csi: ...                     stays such a line.
 *
 *     [{name: a-secretfs, ...}, {name: a, csi: ...}]    in brackets, what is added begins with the
 *                                                       comma.
 *
 * A removal takes away the same bytes, so that taking back a conversion restores each byte.
 * Comments above an entry stay; those within it are removed with it.
 */
#include "cmd/adopt/rewrite.h"

#include "cmd/adopt/policy.h"
#include "encoding/json.h"

#define INDENTATION_MAX 256u /* of an entry in brackets; a longer one is not repeated */

struct rewriter {
    const struct rewrite_text *in;
    const struct plan *plan;
    struct edits *edits;
    struct buf *added; /* entries for the end of the volumes */
    struct error *e;
};

/* Return: @r, with its text if it is an error. */
static int failed(struct rewriter *w, int r)
{
    return r < 0 ? error_set_errno(w->e, r, "cannot convert the pod") : r;
}

static int add_edit(struct rewriter *w, size_t at, size_t removed, const char *text)
{
    return failed(w, edits_add(w->edits, w->in->offset + at, removed, text));
}

static int refuse_shared(struct rewriter *w, struct spot spot)
{
    return error_set(
        w->e, -EINVAL,
        "line %zu: cannot edit volumes through an anchor, an alias or a merge key (&, *, "
        "<<): write them out",
        spot.line);
}

static int refuse_form(struct rewriter *w, size_t line, const char *what)
{
    return error_set(w->e, -EINVAL, "line %zu: cannot edit %s in this form: write it plainly", line,
                     what);
}

/* ---- names */

/* The quote that a name has, or "". NULL: the text is not the name, as with escapes or a tag. */
static const char *quote_of(const struct rewriter *w, const struct yaml_place *place)
{
    const char *at = w->in->text + place->begin;
    size_t len = place->end - place->begin, name_len = strlen(place->value);
    const char *quote = len == 0 ? "" : *at == '"' ? "\"" : *at == '\'' ? "'" : "";
    size_t n = strlen(quote);

    if (len != name_len + 2 * n || memcmp(at + n, place->value, name_len) != 0)
        return NULL;
    return n == 0 || at[len - 1] == *quote ? quote : NULL;
}

/* Return: the place of the volume's name, and its quote; NULL with the error's text. */
static const struct yaml_place *find_name(struct rewriter *w, struct spot volume,
                                          const char **ret_quote)
{
    struct spot name = spot_member(volume, "name");
    const char *quote;

    if (name.place == NULL) {
        refuse_shared(w, name);
        return NULL;
    }
    quote = name.place->kind == PLACE_SCALAR ? quote_of(w, name.place) : NULL;
    if (quote == NULL) {
        refuse_form(w, name.line, "the name of a volume");
        return NULL;
    }
    *ret_quote = quote;
    return name.place;
}

static int set_name(struct rewriter *w, struct spot volume, const char *text)
{
    cJSON *name = cJSON_GetObjectItemCaseSensitive(volume.json, "name");

    return failed(w, cJSON_SetValuestring(name, text) != NULL ? 0 : -ENOMEM);
}

/* ---- adding */

/* The line's white space in front of a place. Return: its length, or SIZE_MAX if more is there. */
static size_t indentation(const char *text, size_t at, size_t *ret_begin)
{
    size_t begin = at;

    while (begin > 0 && (text[begin - 1] == ' ' || text[begin - 1] == '\t'))
        begin--;
    *ret_begin = begin;
    return begin == 0 || text[begin - 1] == '\n' ? at - begin : SIZE_MAX;
}

/* What is in front of an entry: a line break or a comma, and the last entry's indentation. */
static int add_lead(struct rewriter *w)
{
    const struct yaml_place *volumes = w->plan->volumes.place, *last = volumes->last_child;
    size_t begin, len;
    int r;

    if (!volumes->is_flow)
        return failed(w, buf_addf(w->added, "%s%*s- ", w->in->newline, (int)volumes->column, ""));
    len = indentation(w->in->text, last->begin, &begin);
    if (len > INDENTATION_MAX)
        return failed(w, buf_add_text(w->added, ", "));
    r = buf_addf(w->added, ",%s", w->in->newline);
    if (r == 0)
        r = buf_add(w->added, w->in->text + begin, len);
    return failed(w, r);
}

/* @quote: of the name; @key_quote: of keys, as in JSON */
static int add_flow_entry(struct rewriter *w, const char *name, const char *quote,
                          const char *key_quote)
{
    const char *k = key_quote, *q = quote;

    return buf_addf(w->added,
                    "{%sname%s: %s%s%s, %scsi%s: {%sdriver%s: %s" ADOPT_DRIVER
                    "%s, %sreadOnly%s: true, %svolumeAttributes%s: {%spodVolume%s: "
                    "%s%s" ADOPT_SUFFIX "%s}}}",
                    k, k, q, name, q, k, k, k, k, k, k, k, k, k, k, k, k, q, name, q);
}

static int add_block_entry(struct rewriter *w, const char *name, const char *quote)
{
    const char *nl = w->in->newline;
    int indent = (int)w->plan->volumes.place->column + 2;

    return buf_addf(w->added,
                    "name: %s%s%s%s%*scsi:%s%*sdriver: " ADOPT_DRIVER
                    "%s%*sreadOnly: true%s%*svolumeAttributes:%s%*spodVolume: %s%s" ADOPT_SUFFIX
                    "%s",
                    quote, name, quote, nl, indent, "", nl, indent + 2, "", nl, indent + 2, "", nl,
                    indent + 2, "", nl, indent + 4, "", quote, name, quote);
}

static int add_entry(struct rewriter *w, const struct yaml_place *volume, const char *quote)
{
    const struct yaml_place *key = yaml_place_key(volume, "name");
    bool is_quoted = w->in->text[key->begin] == '"';
    int r = add_lead(w);

    if (r < 0)
        return r;
    r = volume->is_flow ? add_flow_entry(w, key->next->value, quote, is_quoted ? "\"" : "")
                        : add_block_entry(w, key->next->value, quote);
    return failed(w, r);
}

/* The JSON of what the entry says. */
static int add_json(struct rewriter *w, const char *name, const char *shown)
{
    cJSON *entry = cJSON_CreateObject(), *csi, *attributes;
    bool is_complete = cJSON_AddStringToObject(entry, "name", name) != NULL;

    csi = cJSON_AddObjectToObject(entry, "csi");
    is_complete &= cJSON_AddStringToObject(csi, "driver", ADOPT_DRIVER) != NULL;
    is_complete &= cJSON_AddTrueToObject(csi, "readOnly") != NULL;
    attributes = cJSON_AddObjectToObject(csi, "volumeAttributes");
    is_complete &= cJSON_AddStringToObject(attributes, "podVolume", shown) != NULL;
    if (is_complete && cJSON_AddItemToArray(w->plan->volumes.json, entry))
        return 0;
    cJSON_Delete(entry);
    return failed(w, -ENOMEM);
}

static int rename_volume(struct rewriter *w, const struct plan_item *item)
{
    _cleanup_(freep) char *longer = NULL;
    const char *quote;
    const struct yaml_place *name = find_name(w, item->volume, &quote);
    int r;

    if (name == NULL)
        return -EINVAL;
    if (asprintf(&longer, "%s" ADOPT_SUFFIX, name->value) < 0) {
        longer = NULL;
        return failed(w, -ENOMEM);
    }
    r = add_edit(w, name->end - strlen(quote), 0, ADOPT_SUFFIX);
    if (r == 0)
        r = add_entry(w, item->volume.place, quote);
    if (r == 0)
        r = add_json(w, name->value, longer);
    return r == 0 ? set_name(w, item->volume, longer) : r;
}

/* The end of the line, in front of its line break. */
static size_t line_end(const struct rewrite_text *in, size_t at)
{
    while (at < in->len && in->text[at] != '\n')
        at++;
    return at > 0 && at < in->len && in->text[at - 1] == '\r' ? at - 1 : at;
}

static int insert_added(struct rewriter *w)
{
    const struct yaml_place *volumes = w->plan->volumes.place;
    size_t at;

    if (w->added->len == 0)
        return 0;
    at = volumes->last_child->end;
    if (!volumes->is_flow && w->in->text[volumes->begin] != '-')
        return refuse_form(w, volumes->line, "the volumes");
    return add_edit(w, volumes->is_flow ? at : line_end(w->in, at), 0, buf_text(w->added));
}

/* ---- removing */

static int strip_volume(struct rewriter *w, const struct plan_item *item)
{
    _cleanup_(freep) char *shorter = NULL;
    size_t suffix = strlen(ADOPT_SUFFIX);
    const char *quote;
    const struct yaml_place *name = find_name(w, item->volume, &quote);
    int r;

    if (name == NULL)
        return -EINVAL;
    shorter = strndup(name->value, strlen(name->value) - suffix);
    if (shorter == NULL)
        return failed(w, -ENOMEM);
    r = add_edit(w, name->end - strlen(quote) - suffix, suffix, "");
    return r == 0 ? set_name(w, item->volume, shorter) : r;
}

/* Whether there is nothing but white space, and one @mark, between two places. */
static bool has_only(const struct rewriter *w, size_t from, size_t to, char mark)
{
    size_t marks = 0;

    for (size_t at = from; at < to; at++) {
        marks += w->in->text[at] == mark;
        if (w->in->text[at] != mark && strchr(" \t\r\n", w->in->text[at]) == NULL)
            return false;
    }
    return marks == 1;
}

/* From the line break in front of its dash to the end of its last line. */
static int remove_lines(struct rewriter *w, const struct yaml_place *volume)
{
    size_t dash = volume->begin, line, len;

    while (dash > 0 && strchr(" \t\r\n", w->in->text[dash - 1]) != NULL)
        dash--;
    if (dash == 0 || w->in->text[dash - 1] != '-')
        return refuse_form(w, volume->line, "a csi volume");
    len = indentation(w->in->text, dash - 1, &line);
    if (len != w->plan->volumes.place->column || line == 0)
        return refuse_form(w, volume->line, "a csi volume");
    line -= line > 1 && w->in->text[line - 2] == '\r' ? 2 : 1;
    return add_edit(w, line, line_end(w->in, volume->end) - line, "");
}

/*
 * With the comma in front of it, or, if no volume in front of it stays, the one behind it.
 * @previous: the volume in front of it; NULL: none
 */
static int remove_between_commas(struct rewriter *w, const struct yaml_place *volume,
                                 const struct yaml_place *previous, bool is_first)
{
    size_t from = is_first ? volume->end : previous->end;
    size_t to = is_first ? volume->next->begin : volume->begin;

    if (!has_only(w, from, to, ','))
        return refuse_form(w, volume->line, "a csi volume");
    return is_first ? add_edit(w, volume->begin, to - volume->begin, "")
                    : add_edit(w, from, volume->end - from, "");
}

static int remove_volume(struct rewriter *w, size_t i, bool is_first)
{
    const struct plan_item *item = &w->plan->items[i];
    const struct yaml_place *previous = i > 0 ? w->plan->items[i - 1].place : NULL;

    if (w->plan->volumes.place == NULL || item->volume.place == NULL)
        return refuse_shared(w, item->volume);
    return w->plan->volumes.place->is_flow
               ? remove_between_commas(w, item->volume.place, previous, is_first)
               : remove_lines(w, item->volume.place);
}

/* ---- a pod */

/* @is_first: whether no volume in front of it stays */
static int change_volume(struct rewriter *w, size_t i, bool is_first)
{
    const struct plan_item *item = &w->plan->items[i];

    switch (item->action) {
    case PLAN_KEEP:
        return 0;
    case PLAN_RENAME:
        return rename_volume(w, item);
    case PLAN_STRIP:
        return strip_volume(w, item);
    case PLAN_REMOVE:
        return remove_volume(w, i, is_first);
    }
    return 0;
}

int rewrite_pod(const struct rewrite_text *text, const struct plan *plan, struct edits *edits,
                struct error *e)
{
    _cleanup_(buf_deinit) struct buf added = BUF_INIT(REWRITE_MAX_BYTES);
    struct rewriter w = {.in = text, .plan = plan, .edits = edits, .added = &added, .e = e};
    bool is_first = true;
    int r = 0;

    for (size_t i = 0; i < plan->n && r == 0; i++) {
        r = change_volume(&w, i, is_first);
        is_first &= plan->items[i].action == PLAN_REMOVE;
    }
    if (r == 0)
        r = insert_added(&w);
    for (size_t i = 0; i < plan->n && r == 0; i++)
        if (plan->items[i].action == PLAN_REMOVE)
            cJSON_Delete(
                cJSON_DetachItemViaPointer(plan->volumes.json, plan->items[i].volume.json));
    return r;
}
