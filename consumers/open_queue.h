/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Opens that the file system's workers have answered and that are not in the table yet: a bounded
 * queue for each volume. No clock and no system calls. See open_queue.c.
 *
 * Thread: one at a time; the owner has a lock.
 */
#include <stdbool.h>
#include <time.h>

#include "fuse/live_file.h"

/*
 * Opens of a volume that wait, without repetitions. The table tells 256 keys of all consumers of a
 * volume apart (TABLE_KEYS_MAX), so no more than twice that is of use to it.
 */
#define OPEN_QUEUE_VOLUME_MAX 512u

struct open_queue;

struct queued_open {
    struct live_opened opened; /* with a reference to the object */
    struct timespec at;
    uint64_t ticks; /* of the first of the same thread and file, as identity_process.start_ticks */
};

/* Return: 0, *ret_queue is the caller's; -ENOMEM. */
int open_queue_new(struct open_queue **ret_queue);
/* Return: NULL. */
struct open_queue *open_queue_free(struct open_queue *queue);
DEFINE_CLEANUP(struct open_queue *, open_queue_free)

/* Opens of a volume count from here on. Return: 0, also if it is there; -ENOMEM. */
int open_queue_add_volume(struct open_queue *queue, uint64_t volume);
/* With what waits of it. An unknown one is fine. */
void open_queue_remove_volume(struct open_queue *queue, uint64_t volume);

/*
 * Add an open, unless one of the same thread and edition waits. Without room or memory it is lost.
 * That of an unknown volume is ignored.
 * @open: borrowed, as the object; a reference is taken
 * Return: whether none waited before, of any volume.
 */
bool open_queue_add(struct open_queue *queue, const struct queued_open *open);

/* What open_queue_take() finds. */
struct open_queue_turn {
    uint64_t volume;
    uint64_t n_lost; /* opens of the volume since its last turn */
    bool has_open;
    struct queued_open open; /* its reference is the caller's */
};

/*
 * Take the oldest open of the volume whose turn it is.
 * Return: whether there is one; then the volume counts as waiting until open_queue_end_turn().
 */
bool open_queue_take(struct open_queue *queue, struct open_queue_turn *ret_turn);
void open_queue_end_turn(struct open_queue *queue);

/* Whether opens of a volume were added that the table may not have. False for an unknown one. */
bool open_queue_is_waiting(const struct open_queue *queue, uint64_t volume);
