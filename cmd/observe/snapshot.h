/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The files of a directory with digests of their content, to learn which ones differ from those of
 * an earlier time. No content is kept.
 */
#include <sys/types.h>

#include <openssl/sha.h>

#include "base/error.h"

/* More than a volume can have (volume/spec.h). */
#define SNAPSHOT_FILES_MAX 131072u

struct snapshot_file {
    char *path; /* below the directory */
    dev_t device;
    ino_t inode;
    uint8_t digest[SHA256_DIGEST_LENGTH];
};

/* Sorted by path. All zero bytes: no files. */
struct snapshot {
    struct snapshot_file *files;
    size_t n;
};

/*
 * Read all regular files below a directory. No symbolic link is followed.
 * Return: 0, *ret_snapshot is the caller's; -ENOENT with @e: it was removed meanwhile; -E2BIG with
 * @e: too many files; -errno with @e.
 */
int snapshot_read(int dir_fd, struct snapshot *ret_snapshot, struct error *e);
void snapshot_deinit(struct snapshot *snapshot);

/* Return: the path of that file, borrowed; NULL: it is none of them. */
const char *snapshot_find(const struct snapshot *snapshot, dev_t device, ino_t inode);

enum snapshot_change { SNAPSHOT_ADDED, SNAPSHOT_CHANGED, SNAPSHOT_REMOVED };

/* @path: borrowed for the call. Return: 0; else the comparison ends. */
typedef int snapshot_change_fn(void *userdata, enum snapshot_change change, const char *path);

/* Report how @to differs from @from, in the order of paths. Return: what the last call returned. */
int snapshot_compare(const struct snapshot *from, const struct snapshot *to,
                     snapshot_change_fn *report, void *userdata);
