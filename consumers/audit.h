/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The audit: a line for each first open of a version of a key by a consumer, to a file, the journal
 * or a socket. See audit.c.
 *
 * Thread: the event loop's, unless a function says otherwise.
 */
#include <systemd/sd-event.h>

#include "consumers/audit_line.h"

struct audit;

/*
 * Start to write. A target that cannot be opened is tried again, as one that fails; both are
 * logged.
 * @target: as of audit_target_parse(), valid; copied
 * Return: 0, *ret_audit is the caller's; -errno with @e.
 */
int audit_new(sd_event *event, const char *target, struct audit **ret_audit, struct error *e);
/*
 * Write what waits, as far as the target takes it at once, and end. A file system that hangs is
 * waited for two seconds; the end of the process frees what it uses. Return: NULL.
 */
struct audit *audit_free(struct audit *audit);
DEFINE_CLEANUP(struct audit *, audit_free)

/* Open the target again before the next line. */
void audit_reopen(struct audit *audit);

/* As audit_queue_add_volume(), audit_queue_remove_volume(). */
void audit_add_volume(struct audit *audit, uint64_t volume, const struct audit_volume *name);
void audit_remove_volume(struct audit *audit, uint64_t volume);

/* Add a line, or drop it. Does not wait for the target. Thread: any. */
void audit_add(struct audit *audit, uint64_t volume, const struct audit_open *open);
/* So many opens of a volume were not seen. Thread: any. */
void audit_note_dropped(struct audit *audit, uint64_t volume, uint64_t n);
/* The kernel dropped opens. Thread: any. */
void audit_note_lost(struct audit *audit);

struct audit_counts {
    uint64_t n_written;
    uint64_t n_dropped;
};
/* Lines so far. Thread: any. */
struct audit_counts audit_counts(struct audit *audit);
