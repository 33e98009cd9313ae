/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The two file systems of a node, in which its volumes are directories: the standard one, and the
 * live one, which is mounted for the first volume that needs it. See file_systems.c.
 *
 * Thread: the event loop's.
 */
#include "consumers/consumers.h"
#include "serve/file_system.h"
#include "serve/watchdog.h"

struct node_file_systems;

/* The file system of a volume; chosen once, before its first content is published. */
enum node_fs {
    NODE_FS_UNDECIDED, /* node_volume_set_fs() decides */
    NODE_FS_STANDARD,  /* warm reads cost no request */
    NODE_FS_LIVE,      /* answers OPEN, so that a file that is mounted alone follows updates */
};

/* "standard", "live"; "" while it is undecided. */
static inline const char *node_fs_name(enum node_fs fs)
{
    static const char *const names[] = {
        [NODE_FS_UNDECIDED] = "", [NODE_FS_STANDARD] = "standard", [NODE_FS_LIVE] = "live"};

    return names[fs];
}

/* Strings are borrowed and outlive the object. */
struct node_file_systems_options {
    const char *run_dir;
    const char *source;        /* of the mounts, as mountinfo shows it */
    struct watchdog *watchdog; /* borrowed, like the strings; gets the publishers */
    struct fd_store *fd_store; /* borrowed; NULL: the file systems end with the process */
    bool notes_consumers;      /* of the standard file system */
    struct audit *audit;       /* borrowed; NULL: none */
    /* The live file system was mounted. */
    void (*live_mounted)(void *userdata, const struct session *session);
    /* A new keeper runs, and has the file systems. */
    void (*stored_again)(void *userdata);
    /* A file system stopped to serve, and cannot be repaired. May not free the object. */
    file_system_failed_fn *failed;
    void *userdata;
};

/*
 * Mount the standard file system, or take both over from an earlier process. What else that has
 * left on the mount points is detached. Return: 0, *ret_all is the caller's; -errno with @e.
 */
int node_file_systems_new(sd_event *event, const struct node_file_systems_options *options,
                          struct node_file_systems **ret_all, struct error *e);
/* All volumes must be gone. NULL is fine. Return: NULL. */
struct node_file_systems *node_file_systems_free(struct node_file_systems *all);
/* The same, and the file systems are left to the next process. Return: NULL. */
struct node_file_systems *node_file_systems_hand_over(struct node_file_systems *all);
DEFINE_CLEANUP(struct node_file_systems *, node_file_systems_free)

/*
 * The publisher of a file system; mounts the live one if it is not mounted yet.
 * @fs: not NODE_FS_UNDECIDED
 * Return: 0, *ret_publisher is borrowed; -errno with @e.
 */
int node_file_systems_publisher(struct node_file_systems *all, enum node_fs fs,
                                struct publisher **ret_publisher, struct error *e);

/* As device_init_offers_idmap(). */
bool node_file_systems_offer_idmap(const struct node_file_systems *all);

/* ---- the hand-over */

/*
 * As mount_handover_check(), of the volumes' records as well.
 * @run_dir: as in the options
 */
int node_file_systems_check(sd_event *event, struct fd_store *fd_store, const char *run_dir,
                            struct error *e);

/* As file_system_is_handed_over(). */
bool node_file_systems_are_handed_over(const struct node_file_systems *all, bool is_requested);

/*
 * Record a volume for the next process, or no longer. Does nothing where nothing is handed over.
 * @id: the name of its directory
 * Return: as handover_set_note().
 */
int node_file_systems_record(struct node_file_systems *all, enum node_fs fs, const char *id,
                             const char *text);
void node_file_systems_drop_record(struct node_file_systems *all, const char *id);
/*
 * Count volumes whose record has orders, which programs before STATE_FORMAT_ORDERS would not
 * follow: they refuse the state while there are any.
 * @change: 1 or -1
 */
void node_file_systems_count_orders(struct node_file_systems *all, enum node_fs fs, int change);

/* Visit what an earlier process has recorded, see handover_visit_notes(). */
void node_file_systems_visit_records(const struct node_file_systems *all, notes_visit_fn *visit,
                                     void *userdata);

/* What an earlier process has recorded of a volume. Return: borrowed until the record is dropped;
 * NULL: nothing. */
const char *node_file_systems_find_record(const struct node_file_systems *all, const char *id);

/* Find the directory of a volume. Return: 0, *ret_node is its node's id; -ENOENT. */
int node_file_systems_find_directory(const struct node_file_systems *all, const char *id,
                                     enum node_fs *ret_fs, uint64_t *ret_node);
/* As shown_payload_read(). @node: of a volume's directory */
int node_file_systems_read_shown(struct node_file_systems *all, enum node_fs fs, uint64_t node,
                                 struct payload **ret_payload,
                                 char ret_generation[static GENERATION_NAME_SIZE], struct error *e);
/* As shown_update(). @id: of the volume */
uint64_t node_file_systems_shown_update(const struct node_file_systems *all, enum node_fs fs,
                                        const char *id);

/*
 * Drop the record of a volume of an earlier process that is not taken over, and remove its
 * directory. Does nothing without a record.
 */
void node_file_systems_drop_leftover(struct node_file_systems *all, const char *id);
/*
 * Remove the directories of an earlier process that no volume takes over, with their records: a
 * volume of that name could not be published. @is_owned: whether a volume has @id, or will have it
 */
typedef bool node_file_systems_owned_fn(void *userdata, const char *id);
void node_file_systems_remove_leftovers(struct node_file_systems *all,
                                        node_file_systems_owned_fn *is_owned, void *userdata);

/* ---- state */
/* Who opens files of a file system. Return: borrowed; NULL: that is not noted. */
struct consumers *node_file_systems_consumers(const struct node_file_systems *all, enum node_fs fs);

/* Borrowed. NULL: the live file system is not mounted. */
const struct session *node_file_systems_session(const struct node_file_systems *all,
                                                enum node_fs fs);
/* NULL: it ends with the process, or is not mounted. */
struct handover *node_file_systems_handover(const struct node_file_systems *all, enum node_fs fs);
/* The device number of a file system that is mounted, as in st_dev. */
dev_t node_file_systems_device(const struct node_file_systems *all, enum node_fs fs);
/* Whether volumes can be read: no connection of a file system was aborted. */
bool node_file_systems_are_serving(const struct node_file_systems *all);
/* Add the FUSE requests so far. */
void node_file_systems_count_requests(const struct node_file_systems *all,
                                      struct request_counts *counts);
/* The sums of all file systems. */
struct tree_usage node_file_systems_usage(const struct node_file_systems *all);
/* Publishing threads that are blocked. */
size_t node_file_systems_blocked_threads(const struct node_file_systems *all);
