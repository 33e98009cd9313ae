/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A switch: the content of many live files changes at one moment. See live_switch.c.
 *
 * Thread: the publisher's, unless said otherwise; the tree's lock keeps each call whole.
 */
#include "fuse/live_file.h"

/*
 * How long a switch waits, at most, for files that were opened just before it and neither read to
 * their end nor closed. A reader gets there in microseconds unless it loses its processor; a file
 * that is mapped is never read.
 */
#define LIVE_DRAIN_MAX SPAN_MS(100)

struct live_switch;

/* A file or directory whose live files follow a payload. */
struct live_root {
    uint64_t id;
    const char *path; /* what it shows of the payload; "" for all of it */
    uint64_t volume;  /* node id of the directory of its volume */
    uid_t uid;        /* of files whose attributes inherit it */
    gid_t gid;
};

/* The path of a payload's file below a root, "" for the root itself; NULL if it is elsewhere. */
const char *live_root_path_below(const struct live_root *root, const char *path);

/*
 * Prepare the content of @payload for all live files of @roots that have a path in it. The files
 * that change, be it in mode or owner alone, are switching from now on: they are not opened, and
 * their attributes not kept; new files are so since they were made (stage.c). Files that are still
 * open through the kernel's pages are left out, as their readers would see two versions. Return: 0,
 * *ret_switch is the caller's; -ENOMEM.
 */
int live_switch_new(struct tree *tree, const struct live_root *roots, size_t n_roots,
                    const struct payload *payload, struct live_switch **ret_switch);
/* End the switch: files may be opened again. If it was not committed they are unchanged. Return:
 * NULL. */
struct live_switch *live_switch_free(struct live_switch *live_switch);
DEFINE_CLEANUP(struct live_switch *, live_switch_free)

/* A file that changes. */
struct live_change {
    uint64_t id;
    size_t root;      /* index of its root */
    const char *path; /* below the root, borrowed from the payload; "" for the root itself */
};

/* Return: the changes, borrowed from the switch. */
const struct live_change *live_switch_changes(const struct live_switch *live_switch, size_t *ret_n);
/* Whether there are files that wait for its end to be opened: those that change, and new ones. */
bool live_switch_holds_opens(const struct live_switch *live_switch);
/* Whether files were left out: another switch has to follow later. */
bool live_switch_is_partial(const struct live_switch *live_switch);

/* Until when to wait for open files that were not yet read; 0 when there are none. */
mono_us live_switch_drain_until(const struct live_switch *live_switch);

/* The next rename of a link in the directory @parent commits the switch. */
void live_switch_arm(struct live_switch *live_switch, uint64_t parent);
/*
 * Give all files their new content. Readers still have to wait, until live_switch_free(), as the
 * kernel does not know of it yet.
 */
void live_switch_commit(struct live_switch *live_switch);
