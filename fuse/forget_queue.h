/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Entries that the kernel is to forget, from whoever knows of them to whoever has the device.
 *
 * Thread: any that serves no requests.
 */
#include <pthread.h>

#include <fuse_lowlevel.h>

#include "base/list.h"

/* Embedded. */
struct forget_queue {
    pthread_mutex_t lock;
    struct list entries;
};

void forget_queue_init(struct forget_queue *queue);
void forget_queue_deinit(struct forget_queue *queue);

/* @name: copied; for want of memory the kernel forgets it when it likes */
void forget_queue_add(struct forget_queue *queue, uint64_t parent_id, const char *name);
bool forget_queue_is_empty(struct forget_queue *queue);
/* Have the kernel forget them, and what they name if nobody uses that. No watcher is told. */
void forget_queue_run(struct forget_queue *queue, struct fuse_session *fuse);
