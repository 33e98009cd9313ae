/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record is "KEY NUL TEXT", or "KEY" for a removal. All of it is checked: notes have no secrets
 * that would have to be wiped before the state is.
 *
 * There are as many as volumes on a node, some thousands at most, so they are in a list.
 */
#include "handover/notes.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"

#define RECORD_OVERHEAD 64u /* the head of a record, and what fills it up */

struct note {
    struct list link;
    size_t key_len;
    size_t len;
    char record[]; /* as in the state, and a NUL */
};

static const char *text_of(const struct note *n)
{
    return n->record + n->key_len + 1;
}

void notes_init(struct notes *notes)
{
    *notes = (struct notes){0};
    list_init(&notes->all);
}

static void free_note(struct notes *notes, struct note *n)
{
    notes->bytes -= n->len + RECORD_OVERHEAD;
    list_remove(&n->link);
    free(n);
}

void notes_deinit(struct notes *notes)
{
    struct note *n, *tmp;

    list_for_each_safe (n, tmp, &notes->all, link)
        free_note(notes, n);
    assert(notes->bytes == 0);
}

static struct note *find(const struct notes *notes, const char *key)
{
    struct note *n;

    list_for_each (n, &notes->all, link)
        if (streq(n->record, key))
            return n;
    return NULL;
}

static int make_note(const char *key, const char *text, struct note **ret_note)
{
    size_t key_len = strlen(key), text_len = strlen(text), len = key_len + 1 + text_len;
    struct note *n;

    if (text_len > NOTE_TEXT_MAX)
        return -E2BIG;
    n = calloc(1, sizeof(*n) + len + 1);
    if (n == NULL)
        return -ENOMEM;
    n->key_len = key_len;
    n->len = len;
    memcpy(n->record, key, key_len);
    memcpy(n->record + key_len + 1, text, text_len);
    *ret_note = n;
    return 0;
}

int notes_set(struct notes *notes, const char *key, const char *text)
{
    struct note *old = find(notes, key), *n = NULL;
    int r;

    assert(key[0] != '\0' && strlen(key) <= NOTE_KEY_MAX);
    r = make_note(key, text, &n);
    if (r < 0)
        return r;
    /* in its place: notes_visit() finds it once */
    list_append(old != NULL ? &old->link : &notes->all, &n->link);
    if (old != NULL)
        free_note(notes, old);
    notes->bytes += n->len + RECORD_OVERHEAD;
    return 0;
}

bool notes_remove(struct notes *notes, const char *key)
{
    struct note *n = find(notes, key);

    if (n == NULL)
        return false;
    free_note(notes, n);
    return true;
}

const char *notes_find(const struct notes *notes, const char *key)
{
    const struct note *n = find(notes, key);

    return n != NULL ? text_of(n) : NULL;
}

void notes_visit(const struct notes *notes, notes_visit_fn *visit, void *userdata)
{
    struct note *n, *tmp;

    list_for_each_safe (n, tmp, &notes->all, link)
        if (!visit(userdata, n->record, text_of(n)))
            return;
}

/* ---- in a state */

static void append(const struct note *n, const struct notes_types *types, struct state *state)
{
    state_append(state, types->set, n->record, n->len, NULL, 0);
}

void notes_append(const struct notes *notes, const struct notes_types *types, const char *key,
                  struct state *state)
{
    const struct note *n = find(notes, key);

    if (n != NULL)
        append(n, types, state);
    else
        state_append(state, types->removed, key, strlen(key), NULL, 0);
}

void notes_append_all(const struct notes *notes, const struct notes_types *types,
                      struct state *state)
{
    const struct note *n;

    list_for_each (n, &notes->all, link)
        append(n, types, state);
}

/* @has_text: else the record is a key */
static bool is_valid(const struct state_record *record, bool has_text)
{
    const char *bytes = record->checked;
    size_t key_len = strnlen(bytes, record->checked_len);
    size_t text_at = key_len + 1;

    if (key_len == 0 || key_len > NOTE_KEY_MAX || record->unchecked_len != 0)
        return false;
    if (!has_text)
        return key_len == record->checked_len;
    return text_at <= record->checked_len && record->checked_len - text_at <= NOTE_TEXT_MAX &&
           memchr(bytes + text_at, '\0', record->checked_len - text_at) == NULL;
}

/* Return: 0; -EBADMSG; -ENOMEM. */
static int read_record(struct notes *notes, const struct notes_types *types,
                       const struct state_record *record)
{
    bool has_text = record->type == types->set;
    _cleanup_(freep) char *copy = NULL;

    if (!has_text && record->type != types->removed)
        return 0;
    if (!is_valid(record, has_text))
        return -EBADMSG;
    copy = strndup(record->checked, record->checked_len); /* the key */
    if (copy == NULL)
        return -ENOMEM;
    if (has_text) {
        size_t text_at = strlen(copy) + 1;
        _cleanup_(freep) char *text =
            strndup((const char *)record->checked + text_at, record->checked_len - text_at);

        return text != NULL ? notes_set(notes, copy, text) : -ENOMEM;
    }
    notes_remove(notes, copy);
    return 0;
}

int notes_read(struct notes *notes, const struct notes_types *types, const struct state *state,
               struct error *e)
{
    struct state_record record = {0};

    assert(list_is_empty(&notes->all));
    while (state_next(state, &record)) {
        int r = read_record(notes, types, &record);

        if (r == -EBADMSG)
            return error_set(e, r, "the stored state is contradictory: invalid note");
        if (r < 0)
            return error_set_errno(e, r, "cannot read the stored state");
    }
    return 0;
}

uint64_t notes_bytes_needed(const struct notes *notes)
{
    return notes->bytes;
}
