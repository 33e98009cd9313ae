/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The run directory of a node daemon: its lock and its mount points. See run_dir.c.
 */
#include "base/error.h"

/* Mount points in it. */
#define RUN_DIR_MOUNT      "fs"
#define RUN_DIR_MOUNT_LIVE "fs-live"

/*
 * Create the directory and its mount points, and take the lock.
 * @path: absolute
 * Return: 0, *ret_lock_fd is the caller's and holds the lock; -EBUSY when another process holds it;
 * -errno; with @e.
 */
int run_dir_open(const char *path, int *ret_lock_fd, struct error *e);

/*
 * Detach the mounts of an earlier process from a mount point in the directory. Targets stay as they
 * are. The caller holds the lock.
 * @name: one of the above
 * Return: the number of mounts; -errno with @e.
 */
int run_dir_detach_leftovers(const char *path, const char *name, struct error *e);
