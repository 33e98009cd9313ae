/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

/*
 * Detach the mount of this id from where it is mounted now, lazily. Another user may own a
 * directory on its path and put a link there at any time, so the path is looked up, and what it
 * leads to is detached only if it is this mount.
 *
 * Thread: any that may wait for the file systems on the path.
 * Return: 0; -ENOENT: the mount is not in this namespace; -EBUSY: its path leads to another mount,
 * which covers it or is behind a link; -errno.
 */
int unmount_id(uint64_t id);
