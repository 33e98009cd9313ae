/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Snapshots: what open files show where the content of files changes in place (`inotify: stable`).
 * Who opens a file sees it to the end as it was then.
 *
 * Thread: any.
 */
#include <pthread.h>

#include "base/list.h"
#include "fuse/tree.h"

/* Embedded. */
struct snapshots {
    pthread_mutex_t lock;
    struct list unread; /* the oldest first */
    size_t n_unread;
};

struct snapshot;

void snapshots_init(struct snapshots *snapshots);
/* Those that the kernel did not live to release are lost. */
void snapshots_deinit(struct snapshots *snapshots);

/*
 * @thread: the thread id of who opens it
 * Return: 0, *ret_snapshot is the caller's for snapshot_close(); tree_read()'s; -ENOMEM.
 */
int snapshot_open(struct snapshots *snapshots, struct tree *tree, uint64_t node_id, pid_t thread,
                  struct snapshot **ret_snapshot);
void snapshot_close(struct snapshots *snapshots, struct snapshot *snapshot);

/* The bytes from @offset on, at most @size; borrowed until it is closed. Return: how many. */
size_t snapshot_read(struct snapshots *snapshots, struct snapshot *snapshot, size_t offset,
                     size_t size, const uint8_t **ret_bytes);

/*
 * fstat(2) does not say which descriptor it is asked for. As long as a thread has not read what it
 * has opened to the end, it is answered with that file's size.
 * Return: whether @stat was changed.
 */
bool snapshots_stat(struct snapshots *snapshots, pid_t thread, struct stat *stat);
