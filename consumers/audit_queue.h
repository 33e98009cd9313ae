/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The lines of the audit that are not written yet: how many each volume and the node may add, and
 * what was dropped. No clock and no system calls. See audit_queue.c.
 *
 * Thread: one at a time; the owner has a lock.
 */
#include "base/clock.h"
#include "consumers/audit_line.h"

/*
 * A bucket of lines: so many at once, and one more each span. An update of a large volume is within
 * it (64 consumers with ten keys each). A pod that starts processes without end adds 35 MB a day,
 * and all pods of a node 350 MB.
 */
#define AUDIT_VOLUME_LINES 640u
#define AUDIT_VOLUME_SPAN  SPAN_SEC(1)
#define AUDIT_NODE_LINES   16384u
#define AUDIT_NODE_SPAN    SPAN_MS(100)

#define AUDIT_QUEUE_MAX (1u << 20) /* bytes that wait for a slow file or peer */
#define AUDIT_REPORT_AFTER                                                                         \
    SPAN_SEC(10) /* from the first that is dropped to the line that says so */

struct audit_queue;

/* Return: 0, *ret_queue is the caller's; -ENOMEM. */
int audit_queue_new(mono_us now, struct audit_queue **ret_queue);
/* Return: NULL. */
struct audit_queue *audit_queue_free(struct audit_queue *queue);
DEFINE_CLEANUP(struct audit_queue *, audit_queue_free)

/*
 * Opens of a volume may come from here on. One that is known keeps its name.
 * @volume: node id of its directory
 * @name: copied
 * Return: 0; -ENOMEM: its opens count as dropped.
 */
int audit_queue_add_volume(struct audit_queue *queue, uint64_t volume,
                           const struct audit_volume *name, mono_us now);
/* An unknown one is fine. */
void audit_queue_remove_volume(struct audit_queue *queue, uint64_t volume);

/* Add a line, or drop it. */
void audit_queue_add(struct audit_queue *queue, uint64_t volume, const struct audit_open *open,
                     mono_us now);
/* So many opens of a volume were not seen, and might have been lines. */
void audit_queue_drop(struct audit_queue *queue, uint64_t volume, uint64_t n, mono_us now);
/* The kernel dropped opens of any volume. */
void audit_queue_note_lost(struct audit_queue *queue, mono_us now);

/*
 * Move whole lines out, the oldest first, with those about what was dropped when they are due.
 * @now: SPAN_FOREVER: they are due
 * @size: at least AUDIT_LINE_SIZE
 * Return: the number of bytes; 0 if there are none.
 */
size_t audit_queue_take(struct audit_queue *queue, mono_us now, struct timespec wall,
                        char *ret_lines, size_t size);

/* When audit_queue_take() has lines though none is added; SPAN_FOREVER: not by itself. */
mono_us audit_queue_due_at(const struct audit_queue *queue);

/* Lines that were dropped so far. */
uint64_t audit_queue_dropped(const struct audit_queue *queue);
