/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Live mounts: the files and directories of a file system's volumes that are mounted alone, and
 * follow their updates. See live_mounts.c.
 *
 * Thread: a publisher's. A lock inside keeps each call whole but live_mounts_follow().
 */
#include "fuse/mount_monitor.h"
#include "fuse/session.h"

struct live_mounts;

/* The live files of one volume: each mount alone takes memory until it is unmounted. */
#define LIVE_MOUNTS_MAX 1024

/* A file or directory that is, or was, mounted alone. Texts are borrowed until the next call. */
struct live_mount {
    uint64_t id;          /* of its node */
    const char *path;     /* in the payload; "" for all of it */
    const char *location; /* relative to the root of the file system; NULL: it has no name */
    bool is_directory;
    bool is_generation; /* which has to have all files of a payload */
};

/*
 * @can_follow: the file system answers open; otherwise mounts are only counted
 * Return: 0, *ret_mounts is the caller's; -ENOMEM.
 */
int live_mounts_new(struct session *session, struct tree *tree, bool can_follow,
                    struct live_mounts **ret_mounts);
/* Return: NULL. */
struct live_mounts *live_mounts_free(struct live_mounts *mounts);

/*
 * Go on with what an earlier process has taken out of generations; before the first scan. Return:
 * 0; -ENOMEM.
 */
int live_mounts_adopt(struct live_mounts *mounts);

/*
 * Reconcile with the result of a scan: a part that is mounted for the first time is to follow, and
 * one that is not mounted any more is released.
 * @parts: is sorted
 */
void live_mounts_reconcile(struct live_mounts *mounts, struct mounted_parts *parts);

/*
 * Have the parts of a volume become live that a scan found. It may block as long as a process lists
 * the directory of such a part; of another volume, such parts are deferred meanwhile.
 * @root_fd: of the writable view
 * @volume: NULL for all of them
 * Return: whether a part was taken out of its generation; then a rescan has to follow, as the last
 * one has its old path.
 */
bool live_mounts_follow(struct live_mounts *mounts, int root_fd, const char *volume);

/* Whether live_mounts_follow() should be called again for what was deferred, as it can go on now:
 * live_mounts_visit_changed() finds the volumes. Reset by the call. */
bool live_mounts_take_deferred(struct live_mounts *mounts);

/*
 * Whether parts of a volume were deferred: of a file, live_mounts_follow() makes it live once its
 * generation is removed.
 * @ret_keeps: whether its old generations have to stay, as one of the parts is a directory that is
 * still mounted; that it does not follow updates is logged, once
 */
bool live_mounts_is_pending(struct live_mounts *mounts, const char *volume, bool *ret_keeps);

/* Visit those of a volume but what is deferred. Return of @visit: whether to go on. */
typedef bool live_mounts_visit_fn(void *userdata, const struct live_mount *mount);
void live_mounts_visit(struct live_mounts *mounts, const char *volume, live_mounts_visit_fn *visit,
                       void *userdata);

/* What has changed for a volume. Texts are borrowed. */
struct live_mounts_change {
    const char *volume;
    size_t n_mounted;
    bool needs_follow; /* live_mounts_follow() */
    bool is_behind;    /* as live_mounts_take_behind() */
};

/*
 * Visit the volumes whose count has changed since the last call, those that were forgotten since,
 * and those that need live_mounts_follow() or are behind.
 * @visit: must not call functions of this file
 */
typedef void live_mounts_changed_fn(void *userdata, const struct live_mounts_change *change);
void live_mounts_visit_changed(struct live_mounts *mounts, live_mounts_changed_fn *visit,
                               void *userdata);

/* How many were mounted at the last scan. */
size_t live_mounts_count(struct live_mounts *mounts, const char *volume);

/* Whether some became live and do not have the newest content yet; reset by the call. */
bool live_mounts_take_behind(struct live_mounts *mounts, const char *volume);

/* A volume is removed: its live files keep their content until they are no longer in use. */
void live_mounts_forget(struct live_mounts *mounts, const char *volume);
