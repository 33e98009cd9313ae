/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Files of replaced generations that somebody may still watch, because they were mounted alone.
 *
 * A watch is on the inode, and a follower gets a new one with every update. The old ones are kept
 * from going away, so that all who watch any of them hear of every later update as well.
 *
 * Thread: the publisher's.
 */
#include <sys/types.h>

#include "base/list.h"
#include "base/util.h"

#define WATCH_PINS_MAX 256 /* of one followed file; see watch_pins_add() */

/* Embedded; list_init() its list. */
struct watch_pins {
    struct list all;
};

/*
 * Open a file of the file system by its node id, linked or not.
 * @dir_fd: any directory of the file system, open for reading
 * Return: a descriptor; -ESTALE when the kernel does not have the file any more; -errno.
 */
int watch_open(int dir_fd, uint64_t node_id, int flags);

/*
 * Let those who watch a file, or the directory that it was opened in, see MODIFY and CLOSE_WRITE;
 * its content stays as it is.
 * @fd_consumed: open for writing; or negative, then the file is gone and nothing is to be done
 */
void watch_tell(int fd_consumed);

/*
 * Keep a file that is followed by another one. Now and then those that nobody watches are let go;
 * were WATCH_PINS_MAX of them watched, the oldest goes, whose watchers then see DELETE_SELF.
 * @volume, @path: what it stands for; copied
 * @device: of the file system
 * Return: 0, also if it was kept already; -ENOMEM; watch_open()'s.
 */
int watch_pins_add(struct watch_pins *pins, int dir_fd, dev_t device, const char *volume,
                   const char *path, uint64_t node_id);

/* Return: whether what stands for this is meant. */
typedef bool watch_pins_match_fn(void *userdata, const char *volume, const char *path);

/* Tell all who watch a file that stood for what is meant. */
void watch_pins_tell(const struct watch_pins *pins, int dir_fd, watch_pins_match_fn *is_meant,
                     void *userdata);
/* Let go of all but what is meant. */
void watch_pins_keep(struct watch_pins *pins, watch_pins_match_fn *is_meant, void *userdata);
void watch_pins_deinit(struct watch_pins *pins);
