/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Targets: the directories on which a node's volumes are mounted. See target.c.
 *
 * Thread: the event loop's.
 */
#include <sys/types.h>

#include "base/error.h"

/*
 * Where targets may be. Strings are borrowed. With a root, the text of a path must begin with it,
 * the path must be below it, and no symbolic link is followed from there. Without one, only root
 * may be able to change what the path leads to.
 */
struct target_area {
    const char *root; /* absolute; NULL: anywhere */
};

/* Check the text of a path. Return: 0; -EINVAL with @e. */
int target_check(const struct target_area *area, const char *path, struct error *e);

/*
 * Create the directory if it is missing. A mount that a killed daemon left on it stays, so that
 * readers find it until the new mount replaces it.
 * Return: 0, *ret_fd (O_PATH) is the caller's: the directory, or the root of such a mount; -EINVAL
 * for an invalid path; -EBUSY when another file system is mounted there; -EPERM for a path that
 * others can change; -errno; with @e.
 */
int target_make(const struct target_area *area, const char *path, int *ret_fd, struct error *e);

/* Whether the topmost mount at @path has this id, of statx(2). */
bool target_shows(const struct target_area *area, const char *path, uint64_t mount_id);

/*
 * Find the mount of a directory of one of our file systems; it may come from another namespace,
 * with another id. It must be the topmost one at @path.
 * @device: of the file system
 * @node: of the directory in it
 * Return: whether there is one; *ret_mount_id is its id.
 */
bool target_find_mount(const struct target_area *area, const char *path, dev_t device,
                       uint64_t node, uint64_t *ret_mount_id);

/* Whether the parent directory is gone: the kubelet has removed the pod. */
bool target_is_gone(const struct target_area *area, const char *path);

/*
 * Detach all mounts of the directory; processes keep their open files.
 * Return: 0, also when the directory does not exist; -EINVAL as above; -errno; with @e.
 */
int target_detach(const struct target_area *area, const char *path, struct error *e);

/*
 * Detach the topmost mounts of the directory that are of secretfs: what a killed daemon left.
 * Return: as target_detach().
 */
int target_detach_ours(const struct target_area *area, const char *path, struct error *e);

/* Remove the directory. Return: 0, also when it does not exist; -EINVAL as above; -errno; @e. */
int target_remove(const struct target_area *area, const char *path, struct error *e);
