/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A file of manifests: reading it when nobody is writing it, and what its text says.
 */
#include <sys/stat.h>

#include "base/buf.h"
#include "cache/object.h"

#define MANIFEST_FILE_MAX_BYTES     (8u << 20) /* eight times what one object may hold */
#define MANIFEST_FILE_MAX_DOCUMENTS 10000u     /* items of lists counted */

/* ---- what a text says */

/* One Secret or ConfigMap. */
struct manifest {
    struct object_key *key; /* owned */
    struct object *object;  /* a reference: the newest good content; NULL if there never was any */
    struct error *error;    /* owned: why object is not what the file says now; NULL if it is */
};

struct manifest_list {
    struct manifest *items; /* in the order of the file; a key may come twice */
    size_t n;
    size_t capacity;
    size_t n_bad; /* documents that cannot be used, those of unknown name included */
    struct error
        *unnamed; /* owned: the first problem that has no manifest to stand with, or NULL */
};

/*
 * Take the Secrets and ConfigMaps out of a text; lists of them are flattened, documents of other
 * kinds passed over.
 * @file_name:        for messages
 * @resource_version: for all objects
 * Return: 0, also for a text that is no good, which *ret_list then says; -ENOMEM.
 */
int manifest_list_parse(const char *file_name, const char *text, size_t len,
                        const char *default_namespace, const char *resource_version,
                        struct manifest_list *ret_list);

/* A list that holds nothing but a problem: the file could not be read. Return: 0 or -ENOMEM. */
int manifest_list_failed(const struct error *error, struct manifest_list *ret_list);

/*
 * Keep what was good @before in a list of the same file made later: a manifest that is bad now gets
 * the object it had, and if there is a problem of unknown name, what is missing may be what that
 * document was to be, so it stays with that problem as its error.
 * Return: 0 or -ENOMEM.
 */
int manifest_list_inherit(struct manifest_list *list, const struct manifest_list *before);

void manifest_list_deinit(struct manifest_list *list);

/* ---- reading */

/* What tells whether a file is still the one that was read. */
struct file_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
    struct timespec ctime;
    /* Read so soon after its last change that the next one could get the same times. */
    bool is_recent;
};

/* Whether a file with status @now is surely the one that was read as @stamp. */
bool file_stamp_holds(const struct file_stamp *stamp, const struct stat *now);

/*
 * Read a file of at most MANIFEST_FILE_MAX_BYTES as a whole, unless somebody is writing it.
 * @name:          relative to @dir_fd
 * @seems_written: what inotify said of it; decides where the kernel does not tell (no right to
 *                 leases, or a filesystem without)
 * Return: 0; MANIFEST_FILE_BUSY while a process has it open for writing; MANIFEST_FILE_OTHER for
 * what is no regular file; -errno with @e.
 */
#define MANIFEST_FILE_BUSY  1
#define MANIFEST_FILE_OTHER 2
int manifest_file_read(int dir_fd, const char *name, bool seems_written, struct buf *buf,
                       struct file_stamp *ret_stamp, struct error *e);
