/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The tree: directories, files and links as the kernel knows them, by node id.
 *
 * Files never change. The FUSE workers read the tree for everybody and change it for the publisher
 * alone. It knows nothing of requests: it takes and returns values, errors are those that a file
 * system call gives.
 *
 * Thread: any; a lock inside keeps each call whole.
 */
#include <sys/stat.h>

#include "volume/payload.h"

struct tree;

#define TREE_ROOT_ID 1u /* FUSE_ROOT_ID */

struct tree_options {
    uid_t uid; /* of the root, and so of everything that is not given to somebody else */
    gid_t gid;
    mode_t root_mode; /* F5, F6; with S_ISGID in it directories have it as well */
};

/* Return: 0 or -ENOMEM. */
int tree_new(const struct tree_options *options, struct tree **ret_tree);
/* Nothing may use the tree any more. Return: NULL. */
struct tree *tree_free(struct tree *tree);
DEFINE_CLEANUP(struct tree *, tree_free)

/* ---- what readers ask for; -ESTALE for an id that is not there */

/*
 * Find a name and count the kernel's reference to what it names; tree_forget() gives it back.
 * Return: 0, *ret_stat has the node id as st_ino; -ENOENT, -ENOTDIR, -ESTALE.
 */
int tree_lookup(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat);
/* The kernel dropped @n of its references. */
void tree_forget(struct tree *tree, uint64_t id, uint64_t n);

int tree_stat(struct tree *tree, uint64_t id, struct stat *ret_stat);

/* Return: 0, *ret_target is the caller's to free(); -EINVAL for what is no link; -ENOMEM. */
int tree_readlink(struct tree *tree, uint64_t id, char **ret_target);

/* The bytes of a file: borrowed from @object, of which the caller owns a reference. */
struct tree_content {
    struct object *object;
    const uint8_t *bytes;
    size_t len;
};

/* Return: 0; -EISDIR, -EINVAL for what is no file. */
int tree_read(struct tree *tree, uint64_t id, struct tree_content *ret_content);
/* The same, and when it last changed. */
int tree_read_at(struct tree *tree, uint64_t id, struct tree_content *ret_content,
                 struct timespec *ret_changed);

/*
 * Called for each entry; @cookie is where to go on after it. Return: whether there was room for it;
 * false ends the walk. The tree is locked meanwhile.
 */
typedef bool tree_visit_fn(void *userdata, const char *name, const struct stat *stat,
                           uint64_t cookie);

/*
 * Visit "." and ".." and the children, in an order that stays while the directory changes.
 * @cookie: 0 to begin, or that of the last entry seen
 * @count_references: as if every child that found room had been looked up (READDIRPLUS)
 * Return: 0; -ENOTDIR, -ESTALE.
 */
int tree_readdir(struct tree *tree, uint64_t id, uint64_t cookie, bool count_references,
                 tree_visit_fn *visit, void *userdata);

/* ---- what the publisher asks for; no references are counted */

/* Return: 0; -ENOENT, -ENOTDIR, -ESTALE. */
int tree_find(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat);
/* As above along a path ("a/b"). */
int tree_find_path(struct tree *tree, uint64_t parent, const char *path, struct stat *ret_stat);
/* Whether both are files with the same bytes. */
bool tree_same_content(struct tree *tree, uint64_t a, uint64_t b);

/* ---- what the publisher does; ids that are returned count a reference as tree_lookup() does */

/*
 * The next tree_mkdir() of @name makes a directory that is already filled with @payload: files
 * with their modes and owners, and what directories their paths need (F2: 0755). NULL forgets it.
 * @payload: a reference is taken
 * Return: 0 or -ENOMEM.
 */
int tree_stage(struct tree *tree, const char *name, struct payload *payload);

/* Return: 0; -EEXIST, -ENOENT, -ENOTDIR, -ENOMEM. */
int tree_mkdir(struct tree *tree, uint64_t parent, const char *name, mode_t mode,
               struct stat *ret_stat);
int tree_symlink(struct tree *tree, uint64_t parent, const char *name, const char *target,
                 struct stat *ret_stat);
/* A file with what tree_stage_file() said. Return: 0; -EEXIST, -ENOENT, -ENOTDIR, -ENOMEM. */
int tree_mknod(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat);
/* Over an existing link only. Return: 0; -ENOENT, -EISDIR, -EXDEV for another directory. */
int tree_rename(struct tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                const char *new_name);
/*
 * A directory is removed when it is empty, or has nothing but kept directories in it, which then
 * live on below it.
 * Return: 0; -ENOENT, -EISDIR, -ENOTDIR, -ENOTEMPTY.
 */
int tree_unlink(struct tree *tree, uint64_t parent, const char *name);
int tree_rmdir(struct tree *tree, uint64_t parent, const char *name);
/*
 * Keep a directory, with all that is in it, when the one that it is in is removed; or no longer,
 * then it goes when the kernel forgets it.
 */
void tree_keep(struct tree *tree, uint64_t id, bool is_kept);
bool tree_is_kept(struct tree *tree, uint64_t id);
/* Whether a node is in a directory, or below it. */
bool tree_is_in(struct tree *tree, uint64_t id, uint64_t directory);
int tree_chmod(struct tree *tree, uint64_t id, mode_t mode);
/* -1 for what is to stay. */
int tree_chown(struct tree *tree, uint64_t id, uid_t uid, gid_t gid);

/* ---- changes in place, of volumes with `inotify: stable` */

/* What the next tree_mknod() makes; NULL for nothing. @file: borrowed until the next call. */
void tree_stage_file(struct tree *tree, const struct payload_file *file);

/*
 * Give the files of a payload that are there its content, all at the same moment.
 * @directory: what the paths are relative to
 * @ret_changed: room for payload->n_files; which of them have another content now, by their index
 * Return: how many these are.
 */
size_t tree_update(struct tree *tree, uint64_t directory, const struct payload *payload,
                   size_t *ret_changed);

/* ---- numbers */

struct tree_usage {
    size_t n_nodes;
    size_t content_bytes; /* of files linked in the tree and of those the kernel still holds */
};

struct tree_usage tree_usage(struct tree *tree);
