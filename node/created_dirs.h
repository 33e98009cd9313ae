/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The directories that were created for targets, so that only these are removed again. They are
 * recorded in a file, for the process that follows a killed one. See created_dirs.c.
 *
 * Thread: the event loop's.
 */
#include "base/cleanup.h"
#include "base/error.h"

/* Each target may need a few, and there are at most 1,024 static ones. */
#define CREATED_DIRS_MAX 8192u

struct created_dirs;

/*
 * @path: of the file; its directory must exist
 * Return: 0, *ret_dirs is the caller's; -errno with @e. An invalid file counts as empty.
 */
int created_dirs_new(const char *path, struct created_dirs **ret_dirs, struct error *e);
/* The directories stay, and stay recorded. Return: NULL. */
struct created_dirs *created_dirs_free(struct created_dirs *dirs);
DEFINE_CLEANUP(struct created_dirs *, created_dirs_free)

/*
 * Create a directory, and missing ones above it.
 * @path: absolute, without "." and "..", without doubled or trailing slashes
 * Return: 0, also if it exists; -ENOTDIR; -E2BIG for more than CREATED_DIRS_MAX; other -errno;
 * with @e.
 */
int created_dirs_make(struct created_dirs *dirs, const char *path, struct error *e);

/* Remove a directory and those above it, as far as they were created here and are empty. */
void created_dirs_remove(struct created_dirs *dirs, const char *path);

/*
 * Remove recorded directories that are empty and not needed, with what a killed daemon left mounted
 * on them.
 * @is_needed: whether @path, or a path below it, is a target
 */
typedef bool created_dirs_needed_fn(void *userdata, const char *path);
void created_dirs_prune(struct created_dirs *dirs, created_dirs_needed_fn *is_needed,
                        void *userdata);
