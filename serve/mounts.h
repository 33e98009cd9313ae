/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* secretfs mounts in the mount namespace of this process. Source: proc(5), /proc/PID/mountinfo. */
#include <sys/types.h>

#include "base/error.h"

struct mount_entry {
    dev_t device;
    uid_t owner;   /* the user who mounted it: user_id= */
    bool is_below; /* the path that was searched for leads on below the mount point */
};

/*
 * Find the secretfs mount that contains @path or is mounted on it. Sends no request to it: its
 * process may be dead, stopped or hang.
 * Return: 0; -ENOENT when there is none or @path does not exist; other -errno; with @e.
 */
int mounts_find(const char *path, struct mount_entry *ret_entry, struct error *e);

/*
 * Find the mount point of the mount that contains @path: several mounts may show one file system.
 * Return: whether it is a secretfs mount; then *ret_mountpoint is the caller's.
 */
bool mounts_point_of(const char *path, char **ret_mountpoint);

/* Visit a secretfs mount. Return: whether to continue. */
typedef bool mounts_visit_fn(void *userdata, const char *mountpoint,
                             const struct mount_entry *entry);
/* Return: 0; -errno with @e. */
int mounts_visit(mounts_visit_fn *visit, void *userdata, struct error *e);

/* Whether a secretfs mount is mounted on exactly @mountpoint (absolute, resolved). */
bool mounts_is_mountpoint(const char *mountpoint);

/*
 * Detach the last secretfs mount on @mountpoint as unmount_id() does. Thread: the event loop's.
 * Return: 0; -errno.
 */
int mounts_detach(const char *mountpoint);
