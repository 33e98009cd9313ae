/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which of the mounts that this process sees are secretfs'. Source: proc(5), /proc/PID/mountinfo.
 */
#include <sys/types.h>

#include "base/error.h"

struct mount_entry {
    dev_t device;
    uid_t owner; /* who mounted it: user_id= */
};

/*
 * Find the secretfs mount that holds @path, or that is mounted on it; a dead one is found too.
 * Return: 0; -ENOENT when there is none; other -errno; with @e.
 */
int mounts_find(const char *path, struct mount_entry *ret_entry, struct error *e);

/*
 * Where the mount that holds @path is mounted, of several that show the same file system.
 * Return: whether it is secretfs'; *ret_mountpoint is the caller's.
 */
bool mounts_point_of(const char *path, char **ret_mountpoint);

/* Visit secretfs' mounts. Return: whether to go on. */
typedef bool mounts_visit_fn(void *userdata, const char *mountpoint,
                             const struct mount_entry *entry);
/* Return: 0; -errno with @e. */
int mounts_visit(mounts_visit_fn *visit, void *userdata, struct error *e);

/* Whether a secretfs mount is mounted on exactly @mountpoint (absolute, resolved). */
bool mounts_is_mountpoint(const char *mountpoint);
