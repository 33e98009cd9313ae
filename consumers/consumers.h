/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Who has read what of the volumes of a file system: its opens, as the kernel reports them by
 * fanotify(7) or as its workers answer them, and the table that is made of them. See consumers.c.
 *
 * Thread: the event loop's.
 */
#include "consumers/audit.h"
#include "consumers/table.h"
#include "fuse/session.h"

struct consumers;

/*
 * Begin to see opens; those before are not seen. Waits for a worker of the session unless that
 * answers OPEN.
 * @tree, @session: borrowed, outlive the object
 * @audit: gets the first opens; borrowed, outlives the object; NULL: none
 * Return: 0, *ret_consumers is the caller's; -errno with @e. Unless the session answers OPEN,
 * -EPERM without root's rights and -EINVAL before Linux 5.15.
 */
int consumers_new(struct tree *tree, struct session *session, struct audit *audit,
                  struct consumers **ret_consumers, struct error *e);
/* NULL is fine. Return: NULL. */
struct consumers *consumers_free(struct consumers *consumers);
DEFINE_CLEANUP(struct consumers *, consumers_free)

/*
 * A volume shows a payload; before readers can open it first.
 * @volume, @edition: see publisher_outcome.h; @edition is 0 if @is_adopted
 * @name: of the volume, for the audit; copied
 * @is_adopted: an earlier process has published it
 */
void consumers_published(struct consumers *consumers, uint64_t volume,
                         const struct audit_volume *name, uint64_t edition,
                         const struct payload *payload, bool is_adopted);
/* An unknown volume is fine. */
void consumers_remove(struct consumers *consumers, uint64_t volume);

struct consumers_counts {
    size_t n_current;
    size_t n_old;
};
/*
 * Count the consumers of a volume.
 * @sweeps: look first which of them still run, by system calls for each; else those that are gone
 * since the last time count as well
 * Return: as consumers_visit().
 */
int consumers_count(struct consumers *consumers, uint64_t volume, bool sweeps,
                    struct consumers_counts *ret_counts);

/*
 * Visit the consumers of a volume that still run, as table_visit(); the table is locked meanwhile.
 * @ret_held_files: files of older generations that processes have open or mapped
 * Return: 0; -ENOENT: the volume is unknown.
 */
int consumers_visit(struct consumers *consumers, uint64_t volume, table_visit_fn *visit,
                    void *userdata, unsigned *ret_gaps, size_t *ret_held_files);
