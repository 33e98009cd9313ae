/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The directory in which a node daemon has its mount, and in which there is one daemon at a time.
 */
#include "base/cleanup.h"
#include "base/error.h"

/* In it. */
#define RUN_DIR_MOUNT      "fs"
#define RUN_DIR_MOUNT_LIVE "fs-live"

/*
 * Make the directory, and those to mount on, and keep other daemons out.
 * @path: absolute
 * Return: 0, *ret_lock_fd is the caller's and holds the lock; -EBUSY when another process has it;
 * -errno; with @e.
 */
int run_dir_open(const char *path, int *ret_lock_fd, struct error *e);

/*
 * Detach what a process that is gone has left mounted: its file system, and its volumes' targets.
 * To be called with the lock held.
 * @source: what its mounts show as their device
 * @targets: below it, what has @source is known to be its own; absolute, may not exist
 * Return: how many there were; -errno with @e.
 */
int run_dir_detach_leftovers(const char *path, const char *source, const char *targets,
                             struct error *e);
