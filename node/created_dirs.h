/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The directories that were made for targets, so that these and no others are removed again. They
 * are noted in a file, where the next process finds what a killed one has left.
 *
 * Thread: the event loop's.
 */
#include "base/cleanup.h"
#include "base/error.h"

/* Each target may need a few, and there are at most 1,024 static ones. */
#define MADE_DIRS_MAX 8192u

struct created_dirs;

/*
 * @path: the file; its directory has to be there
 * Return: 0, *ret_dirs is the caller's; -errno with @e. A file that is no good counts as empty.
 */
int created_dirs_new(const char *path, struct created_dirs **ret_dirs, struct error *e);
/* What was made stays, and stays noted. */
struct created_dirs *created_dirs_free(struct created_dirs *dirs);
DEFINE_CLEANUP(struct created_dirs *, created_dirs_free)

/*
 * Make a directory, and those above it that are missing.
 * @path: absolute, without "." and "..", without doubled or trailing slashes
 * Return: 0, also if it was there; -ENOTDIR for what is no directory; -E2BIG; other -errno; with
 * @e.
 */
int created_dirs_make(struct created_dirs *dirs, const char *path, struct error *e);

/* Remove a directory and those above it, if they were made here, as far as they are empty. */
void created_dirs_remove(struct created_dirs *dirs, const char *path);

/* Remove what was made and is no longer needed. Whether @path is, or one below it, @is_needed says.
 */
typedef bool created_dirs_needed_fn(void *userdata, const char *path);
void created_dirs_prune(struct created_dirs *dirs, created_dirs_needed_fn *is_needed,
                        void *userdata);
