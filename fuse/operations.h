/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * FUSE requests, answered from the tree.
 *
 * Every caller may read. What changes the tree is for the publisher's threads, which are known by
 * their thread ids; every other caller gets EROFS, even root. Each handler sends exactly one reply.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <fuse_lowlevel.h>

#include "base/list.h"
#include "fuse/live_file.h"

/* Opens that wait for the end of a switch. Their number is that of the readers in open(2). */
struct waiting_opens {
    pthread_mutex_t lock;
    struct list all;
};

/* What the handlers work with; the session's userdata. */
struct operations {
    struct fuse_session *fuse; /* set once it is there */
    struct tree *tree;
    atomic_int publishers[STAGES_MAX]; /* thread ids as requests have them; 0: none */
    bool answers_open;                 /* files may be live */
    struct waiting_opens waiting;
};

void operations_init(struct operations *operations, struct tree *tree, bool answers_open);
/* No worker serves any more. */
void operations_deinit(struct operations *operations);

/* Accept changes from a thread, or no longer. Thread: any. */
void operations_add_publisher(struct operations *operations, int tid);
void operations_remove_publisher(struct operations *operations, int tid);

/*
 * The request that this thread processes next.
 * @unique: its number
 * @is_resent: an earlier process had taken it; what that has done is not done again: its
 * publisher's change, if the tree has it already, is reported as made
 * Thread: a worker.
 */
void operations_set_request(uint64_t unique, bool is_resent);

/* A switch is over, or held up: answer the opens that have waited for it. Thread: not a worker. */
void operations_resume_opens(struct operations *operations);

extern const struct fuse_lowlevel_ops operations_table;
