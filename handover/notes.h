/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notes: what a state says besides the tree, as texts that each have a key. The last record of a
 * key counts. See notes.c.
 *
 * Thread: any, one at a time.
 */
#include "base/list.h"
#include "handover/state.h"

#define NOTE_KEY_MAX  255u
#define NOTE_TEXT_MAX (16u << 20) /* a pod's attributes have 1.5 MiB at most */

/* Embedded. Members are notes.c's alone. */
struct notes {
    struct list all;
    uint64_t bytes; /* that they take in a state, at most */
};

void notes_init(struct notes *notes);
void notes_deinit(struct notes *notes);

/*
 * Replace the note of a key, or add it.
 * @key: 1 to NOTE_KEY_MAX bytes; copied, as @text
 * Return: 0; -E2BIG: the text is longer than NOTE_TEXT_MAX; -ENOMEM. Then the old one stays.
 */
int notes_set(struct notes *notes, const char *key, const char *text);
/* Return: whether there was one. */
bool notes_remove(struct notes *notes, const char *key);

/* Return: the text of a key, borrowed until that is set or removed; NULL: none. */
const char *notes_find(const struct notes *notes, const char *key);

/* Return: whether to continue. The note may be removed or replaced meanwhile, and no other. */
typedef bool notes_visit_fn(void *userdata, const char *key, const char *text);
/* In the order in which the keys were added. */
void notes_visit(const struct notes *notes, notes_visit_fn *visit, void *userdata);

/* ---- in a state */

/* Types of records that are a note, and the removal of one. */
struct notes_types {
    uint16_t set;
    uint16_t removed;
};

/* Append the note of a key, or its removal if there is none. A commit is to follow. */
void notes_append(const struct notes *notes, const struct notes_types *types, const char *key,
                  struct state *state);
void notes_append_all(const struct notes *notes, const struct notes_types *types,
                      struct state *state);

/*
 * Read the notes of a state.
 * @notes: empty
 * Return: 0; -EBADMSG with @e: an invalid record; -ENOMEM with @e.
 */
int notes_read(struct notes *notes, const struct notes_types *types, const struct state *state,
               struct error *e);

/* An upper bound of the bytes that all of them take in a state. */
uint64_t notes_bytes_needed(const struct notes *notes);
