/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The table of consumers: for each volume, which process has opened which keys of its objects, and
 * whether what it opened last is what the volume shows now. Names and times, never a value. See
 * table.c.
 *
 * Thread: one at a time; the owner has a lock.
 */
#include "base/clock.h"
#include "cache/object.h"
#include "consumers/identity.h"
#include "fuse/file_content.h"
#include "volume/payload.h"

/*
 * For each volume. A pod has a few containers, each with a few processes that read files; those
 * that have ended share an entry by name. One that starts more than this within a second, under
 * changing names, costs itself a complete answer.
 */
#define TABLE_CONSUMERS_MAX 64u
#define TABLE_KEYS_MAX      256u /* of all consumers of a volume */

#define TABLE_VERSION_SIZE 32u /* a resourceVersion is a number of 20 digits at most */

struct table;

enum consumer_state {
    CONSUMER_CURRENT, /* it has opened the newest content of each key that it has opened */
    CONSUMER_OLD,     /* of some key it has opened older content only */
};

/* Whether a consumer still runs. */
enum consumer_life {
    CONSUMER_RUNS,
    CONSUMER_ENDED, /* the process; its container or service runs, and may use what it has read */
    CONSUMER_GONE,
};

/* Why the table may miss a consumer; bits. */
enum table_gap {
    TABLE_GAP_ADOPTED = 1 << 0, /* an earlier process served the volume */
    TABLE_GAP_LOST = 1 << 1,    /* more opens at a time than the kernel or the queue keeps */
    TABLE_GAP_FULL = 1 << 2,    /* more consumers or keys than the limits */
    TABLE_GAP_ENDED = 1 << 3,   /* a process ended before it was identified, on older content */
    TABLE_GAP_BEHIND = 1 << 4,  /* events wait; this gap ends by itself */
};

/* Borrowed for the call, as what follows. */
struct table_key {
    const struct object_key *object;
    const char *key;
    const char *version; /* resourceVersion that was opened last; "" if unknown */
    enum consumer_state state;
};

struct table_consumer {
    const struct consumer_identity *identity; /* pid 0: the process has ended */
    enum consumer_state state;
    const struct table_key *keys; /* in the order of their first open */
    size_t n_keys;
    struct timespec first_open;
    struct timespec last_open;
};

/* Return: 0 or -ENOMEM. */
int table_new(struct table **ret_table);
/* Return: NULL. */
struct table *table_free(struct table *table);
DEFINE_CLEANUP(struct table *, table_free)

/*
 * The volume shows a payload. It is added unless it is there.
 * @volume: node id of its directory
 * @edition: of the update that brought it, see tree_take_edition(); 0: unknown, as an earlier
 * process has published it
 * @is_adopted: an earlier process may have served readers
 * Return: 0 or -ENOMEM: then the volume is not in the table.
 */
int table_publish(struct table *table, uint64_t volume, uint64_t edition,
                  const struct payload *payload, bool is_adopted);
/* An unknown one is fine. */
void table_remove(struct table *table, uint64_t volume);

struct table_open {
    uint64_t volume;
    uint64_t edition; /* of the content */
    struct file_content content;
    const struct consumer_identity *identity; /* NULL: the process has ended already */
    pid_t pid;                                /* 0: in another pid namespace */
    struct timespec at;
};

/*
 * Have first opens reported: of each version of a key by a consumer. Each open by one that the
 * table does not know counts: of a process that ended before it was identified, or beyond the
 * limits.
 */
typedef void table_first_fn(void *userdata, const struct table_open *open,
                            const struct object_entry *entry);
void table_report_first(struct table *table, table_first_fn *first, void *userdata);

/*
 * A file was opened. That of a volume that is not in the table is ignored.
 * Return: 0; TABLE_IS_FULL: table_sweep() may make room, then call again; -ENOMEM: noted as a gap.
 */
#define TABLE_IS_FULL 1
int table_open(struct table *table, const struct table_open *open);

/* Opens of a volume were not seen; 0: of all volumes. An unknown one is fine. */
void table_note_lost(struct table *table, uint64_t volume);
/* There is no room for an open. */
void table_note_full(struct table *table, const struct table_open *open);

/*
 * Drop consumers that are gone, and merge those whose process has ended by container or service
 * and name.
 */
typedef enum consumer_life table_life_fn(void *userdata, const struct consumer_identity *identity);
void table_sweep(struct table *table, uint64_t volume, table_life_fn *life, void *userdata);

/*
 * Visit the consumers of a volume, in the order of their first open.
 * @ret_gaps: of enum table_gap
 * Return: 0; -ENOENT for a volume that is not in the table.
 */
typedef void table_visit_fn(void *userdata, const struct table_consumer *consumer);
int table_visit(const struct table *table, uint64_t volume, table_visit_fn *visit, void *userdata,
                unsigned *ret_gaps);
