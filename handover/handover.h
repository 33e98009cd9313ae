/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The hand-over of one file system: its device and its state are stored, so that the next process
 * of the service goes on serving the mount. See handover.c and docs/internals/handover.md.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "fuse/session.h"
#include "handover/fd_store.h"
#include "handover/notes.h"

struct handover;

struct handover_options {
    struct fd_store *store; /* borrowed, outlives the handover */
    const char *name;       /* of the file system among those of the service; borrowed */
    const char *program;    /* version of this program; borrowed */
};

/* Return: 0, *ret_handover is the caller's; -ENOMEM, -errno with @e. */
int handover_new(sd_event *event, const struct handover_options *options,
                 struct handover **ret_handover, struct error *e);
/* What is stored remains stored. NULL is fine. Return: NULL. */
struct handover *handover_free(struct handover *handover);
DEFINE_CLEANUP(struct handover *, handover_free)

/* What an earlier process has left. Borrowed from the handover, until handover_begin(). */
struct handover_found {
    const char *mountpoint;
    bool answers_open; /* as in tree_options and session_options */
    struct session_adoption adoption;
};

enum handover_verdict {
    HANDOVER_NOTHING = 1, /* nothing is stored, or nothing that a reader has seen */
};

/*
 * Take what is stored and check it.
 * Return: 0; HANDOVER_NOTHING; -EBADMSG, -EPROTONOSUPPORT with @e: there is a state that this
 * program cannot read; -errno with @e. What is damaged is stored no more; else, after
 * handover_free(), another process may take it.
 */
int handover_take(struct handover *handover, struct handover_found *ret_found, struct error *e);

/*
 * As handover_take(), beside the process that has stored it and goes on: changes nothing of what is
 * stored. Only handover_read_tree(), handover_visit_notes(), handover_peek_again() and
 * handover_free() may follow.
 * Return: as handover_take(); also -EAGAIN with @e: that process is replacing its state, or has
 * lost it.
 */
int handover_peek(struct handover *handover, struct handover_found *ret_found, struct error *e);

/*
 * Use what the running process has recorded since: it overwrites content that no node shows any
 * more, which handover_read_tree() takes for damage. Return: 0; -EAGAIN, -EBADMSG with @e.
 */
int handover_peek_again(struct handover *handover, struct error *e);

/*
 * Make the tree of the state that handover_take() or handover_peek() has found.
 * @tree: new
 * Return: 0; -EBADMSG with @e; -ENOMEM with @e. Then @tree cannot be used.
 */
int handover_read_tree(struct handover *handover, struct tree *tree, struct error *e);

/*
 * Store the device and a state of the tree, and keep the state up to date from now on. To be called
 * before readers see the mount.
 * @tree, @session: borrowed until handover_end() or handover_free()
 * @mountpoint: copied
 * Return: 0; -errno with @e: the mount ends with this process.
 */
int handover_begin(struct handover *handover, struct tree *tree, struct session *session,
                   const char *mountpoint, struct error *e);

/*
 * Store the device and the present state again, at a keeper that has nothing. Does nothing before
 * handover_begin(). Return: 0; -errno with @e: the mount ends with this process.
 */
int handover_store_again(struct handover *handover, struct error *e);

/*
 * Notes for the next process, besides the tree; see notes.h. Those of an earlier process are there
 * from handover_take() on, until they are removed. From handover_begin() to handover_end().
 *
 * handover_set_note() returns when the note is in the state, or when the state is lost, which is
 * logged. Return: as notes_set().
 */
int handover_set_note(struct handover *handover, const char *key, const char *text);
void handover_remove_note(struct handover *handover, const char *key);
/* As notes_find(). */
const char *handover_find_note(const struct handover *handover, const char *key);
void handover_visit_notes(const struct handover *handover, notes_visit_fn *visit, void *userdata);

/*
 * The format that a program has to know to follow what the notes say: STATE_FORMAT_FIRST until this
 * is called. The state is replaced where it has another one.
 */
void handover_require_format(struct handover *handover, uint32_t format);

/* Whether the next process could take the file system over now. */
bool handover_is_complete(struct handover *handover);

struct handover_usage {
    bool is_complete;  /* as handover_is_complete() */
    uint64_t bytes;    /* of the state */
    const char *error; /* why the state could not be stored; ""; borrowed until the next call */
};
/* NULL is fine: the file system ends with this process. */
struct handover_usage handover_usage(struct handover *handover);

/*
 * The mount ends: have nothing stored any more. Also drops what handover_take() has found. NULL is
 * fine.
 */
void handover_end(struct handover *handover);
