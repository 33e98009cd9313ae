/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A live update: switches the live files and directories of one volume to another payload, all at
 * the moment of the `..data` rename. See live_update.c.
 *
 * Thread: the publisher's.
 */
#include "fuse/live_mounts.h"
#include "fuse/live_switch.h"

/* Embedded; zero is empty. */
struct live_update {
    struct session *session;
    struct tree *tree;
    struct payload *payload;
    struct live_part *parts;
    size_t n_parts;
    struct live_switch *live_switch; /* NULL until live_update_begin() */
    bool is_partial;                 /* another node is in the way of a file */
    uint64_t volume; /* node id of its directory; set by the caller, as what follows */
    uid_t uid;       /* of files whose attributes inherit it */
    gid_t gid;
};

/* @payload: a reference is taken */
void live_update_init(struct live_update *update, struct session *session, struct tree *tree,
                      struct payload *payload);
/* Ends a switch that was not committed. */
void live_update_deinit(struct live_update *update);

/* Texts are copied. Return: 0 or -ENOMEM. */
int live_update_add(struct live_update *update, const struct live_mount *mount);

/*
 * Make the files that are new in directories, prepare the switch, and have the kernel drop the
 * attributes that will change.
 * @root_fd: of the writable view
 * Return: 0; -EEXIST, -ENOTDIR when another node is in a new file's way in a generation; -errno.
 */
int live_update_begin(struct live_update *update, int root_fd);

/* Until when to wait before the commit; 0: no wait. It may become 0 earlier. */
mono_us live_update_drain_until(const struct live_update *update);

/*
 * After the commit (live_switch_arm(), live_switch_commit()): watchers of changed files
 * get their events, waiting opens are answered, and names of removed keys are removed.
 */
void live_update_end(struct live_update *update, int root_fd);

/*
 * Instead of the above: finish what an earlier process was doing with the parts that were added.
 * Names that it had made for an update that did not happen are removed, as are those of removed
 * keys; watchers of changed files get their events.
 * @root_fd: of the writable view
 */
void live_update_finish(struct live_update *update, int root_fd);

/* Whether files were left out, see live_switch_new(), or another node was in their way. */
bool live_update_is_partial(const struct live_update *update);
