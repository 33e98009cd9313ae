/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Live files: files of the tree whose content changes while their inode stays, and the open files
 * that keep the version that they were opened with. See live_file.c.
 *
 * Thread: any, unless said otherwise; the tree's lock keeps each call whole.
 */
#include "base/clock.h"
#include "fuse/tree.h"

/*
 * How long a switch waits, at most, for files that were opened just before it and not yet read to
 * their end.
 */
#define LIVE_DRAIN_MAX SPAN_MS(10)

/* What an open file shows until it is closed. */
struct live_open {
    struct tree_content content; /* of a live file: a reference is the caller's */
    struct timespec changed;
    uint64_t version;
    bool is_live; /* else the file is immutable and is read through the kernel's pages */
};

/*
 * A file is opened.
 * Return: 0, to be ended with live_file_close(); -EAGAIN while a switch waits: to be tried again
 * when it is over; -ESTALE, -EISDIR, -EINVAL.
 */
int live_file_open(struct tree *tree, uint64_t id, struct live_open *ret_open);
/* An open file was read to its end. To be called once at most. */
void live_file_read_to_end(struct tree *tree, uint64_t id, uint64_t version);
/* @was_read: whether live_file_read_to_end() was called; the content's reference is consumed */
void live_file_close(struct tree *tree, uint64_t id, struct live_open *open_consumed,
                     bool was_read);

/* Whether the kernel may keep the attributes of a node: no older version of it is open, and none
 * is about to become old. */
bool live_file_is_settled(struct tree *tree, uint64_t id);

/* Whether a file is live, or the first file below a directory. */
bool live_file_is_live(struct tree *tree, uint64_t id);
/*
 * Make a file live, or all files below a directory.
 * Return: 0; -ENOMEM, then some may be live; -ESTALE.
 */
int live_file_make(struct tree *tree, uint64_t id);

/* ---- changing the content of many files at one moment. Thread: the publisher's. */

struct live_switch;

/* A file or directory whose live files follow a payload. */
struct live_root {
    uint64_t id;
    const char *path; /* what it shows of the payload; "" for all of it */
};

/* The path of a payload's file below a root, "" for the root itself; NULL if it is elsewhere. */
const char *live_root_path_below(const struct live_root *root, const char *path);

/*
 * Prepare the content of @payload for all live files of @roots that have a path in it. The files
 * whose bytes change are switching from now on: they are not opened, and their attributes not kept.
 * Files that are still open through the kernel's pages are left out, as their readers would see two
 * versions.
 * Return: 0, *ret_switch is the caller's; -ENOMEM.
 */
int live_switch_new(struct tree *tree, const struct live_root *roots, size_t n_roots,
                    const struct payload *payload, struct live_switch **ret_switch);
/* What was not committed stays as it is. Return: NULL. */
struct live_switch *live_switch_free(struct live_switch *live_switch);
DEFINE_CLEANUP(struct live_switch *, live_switch_free)

/* A file whose bytes change. */
struct live_change {
    uint64_t id;
    size_t root;      /* index of its root */
    const char *path; /* below the root, borrowed from the payload; "" for the root itself */
};

/* Return: the changes, borrowed from the switch. */
const struct live_change *live_switch_changes(const struct live_switch *live_switch, size_t *ret_n);
/* Whether files were left out, so that the switch has to be made once more later. */
bool live_switch_is_partial(const struct live_switch *live_switch);

/* Until when to wait for open files that were not yet read; 0 when there are none. */
mono_us live_switch_drain_until(struct tree *tree, const struct live_switch *live_switch);

/* The next rename of a link in the directory @parent commits the switch. */
void live_switch_arm(struct tree *tree, struct live_switch *live_switch, uint64_t parent);
/* Give all files their new content. */
void live_switch_commit(struct tree *tree, struct live_switch *live_switch);
/* The same where the tree's lock is held. */
void live_switch_commit_locked(struct tree *tree, struct live_switch *live_switch);
