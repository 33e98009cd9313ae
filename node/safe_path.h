/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Resolves paths that only root can change. See safe_path.c.
 *
 * Thread: any.
 */
#include "base/error.h"

/*
 * Open the directory in which the last name of a path is.
 * @path: absolute, without "." and ".."
 * Return: an O_PATH descriptor, and *ret_name is the last name, borrowed from @path; -EPERM if
 * another user can change what the path leads to; -errno; with @e.
 */
int safe_path_open_parent(const char *path, const char **ret_name, struct error *e);
