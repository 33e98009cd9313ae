/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Files and directories of replaced generations that somebody may still watch, because they were
 * mounted alone.
 *
 * A watch is on the inode, and a follower gets a new one with every update. The old ones are kept
 * from going away, so that all who watch any of them hear of every later update as well. An old
 * directory is kept with what is in it (tree_keep()), and has the names of the newest one.
 *
 * Thread: the publisher's.
 */
#include <sys/types.h>

#include "base/list.h"
#include "fuse/session.h"

#define WATCH_PINS_MAX 256 /* of one followed file; see watch_pins_add() */

/* Embedded. */
struct watch_pins {
    struct session *session;
    struct tree *tree;
    struct list all;
};

/* What is pinned. Texts are copied. */
struct watch_pin_options {
    const char *volume; /* what it stands for: the path of a volume's directory, */
    const char *path;   /* and a path in it */
    uint64_t node_id;
    bool is_directory;
    uint64_t parent_id; /* of a directory: the node id of the one that it is in */
};

/* @session, @tree: borrowed */
void watch_pins_init(struct watch_pins *pins, struct session *session, struct tree *tree);
void watch_pins_deinit(struct watch_pins *pins);

/*
 * Keep what is followed by something else. Now and then those that nobody watches are let go; were
 * WATCH_PINS_MAX of them watched, the oldest goes, whose watchers then see DELETE_SELF.
 * @dir_fd: any directory of the file system, open for reading
 * Return: 0, also if it was kept already; -ENOMEM; -ESTALE when the kernel does not have it any
 * more; -errno.
 */
int watch_pins_add(struct watch_pins *pins, int dir_fd, const struct watch_pin_options *options);

/* Return: whether what stands for this is meant. */
typedef bool watch_pins_match_fn(void *userdata, const char *volume, const char *path);

/* Tell all who watch a file that stood for what is meant. */
void watch_pins_tell(const struct watch_pins *pins, int dir_fd, watch_pins_match_fn *is_meant,
                     void *userdata);
/* Tell all who watch a directory that stood for this, see tell_directory(). */
void watch_pins_tell_directories(const struct watch_pins *pins, const char *volume,
                                 const char *path, uint64_t shown_id, uint64_t new_id);
/* Let go of all but what is meant. */
void watch_pins_keep(struct watch_pins *pins, watch_pins_match_fn *is_meant, void *userdata);
