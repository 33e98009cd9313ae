/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Targets: the directories on which a node's volumes are shown. See target.c.
 *
 * Thread: the event loop's.
 */
#include "base/cleanup.h"
#include "base/error.h"

/*
 * Where targets may lie. Strings are borrowed. With a root a path has to begin with it as text, has
 * to lie below it, and no symbolic link is followed on the way from there.
 */
struct target_area {
    const char *root; /* absolute; NULL: anywhere */
};

/* Whether a target may be there at all, as far as the text tells. Return: 0; -EINVAL with @e. */
int target_check(const struct target_area *area, const char *path, struct error *e);

/*
 * Make the directory if it is not there, and clear it of what a dead predecessor mounted on it.
 * Return: 0, *ret_fd (O_PATH) is the caller's; -EINVAL for a path where no target may be; -EBUSY
 * when something else is mounted there; -errno; with @e.
 */
int target_make(const struct target_area *area, const char *path, int *ret_fd, struct error *e);

/* Whether the mount on top at @path is the one with this id, as statx(2) knows it. */
bool target_shows(const struct target_area *area, const char *path, uint64_t mount_id);

/* Whether even the directory around the target is gone, and with it whoever could want it. */
bool target_is_gone(const struct target_area *area, const char *path);

/*
 * Detach whatever is mounted on the directory; those who use it keep what they have open.
 * Return: 0, also when there is no such directory; -EINVAL as above; -errno; with @e.
 */
int target_detach(const struct target_area *area, const char *path, struct error *e);

/* Remove the directory. Return: 0, also when there is none; -EINVAL as above; -errno; with @e. */
int target_remove(const struct target_area *area, const char *path, struct error *e);
