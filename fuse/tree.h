/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The tree: directories, files and links as the kernel knows them, by node id.
 *
 * The FUSE workers read the tree for every caller and change it for the publisher alone. Requests
 * are not its concern: it takes and returns values; errors are those of the file system calls.
 * Files are immutable unless they are live, see live_file.h.
 *
 * Thread: any; a lock inside keeps each call whole.
 */
#include <sys/stat.h>

#include "fuse/file_content.h"
#include "fuse/stage.h"

struct tree;

#define TREE_ROOT_ID 1u /* FUSE_ROOT_ID */

/* Name of a link that listings leave out and that does not keep its directory; see writer.c. */
#define TREE_UNLISTED_LINK "..replaced"

struct tree_options {
    uid_t uid; /* of the root, and of what is made in it, unless that has an owner of its own */
    gid_t gid;
    mode_t root_mode;  /* F5, F6; with S_ISGID in it directories have it as well */
    bool answers_open; /* the kernel sends each OPEN, so files may be live */
};

/* Return: 0 or -ENOMEM. */
int tree_new(const struct tree_options *options, struct tree **ret_tree);
/* As the options say. */
bool tree_answers_open(const struct tree *tree);
/* Nothing may use the tree any more. Return: NULL. */
struct tree *tree_free(struct tree *tree);
DEFINE_CLEANUP(struct tree *, tree_free)

/* ---- for readers; -ESTALE for an unknown id */

/*
 * Find a name and count the kernel's reference to what it names; tree_forget() gives it back.
 * Return: 0, *ret_stat has the node id as st_ino; -ENOENT, -ENOTDIR, -ESTALE.
 */
int tree_lookup(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat);
/* The kernel dropped @n of its references. */
void tree_forget(struct tree *tree, uint64_t id, uint64_t n);

/* Return: 0; -ESTALE. */
int tree_stat(struct tree *tree, uint64_t id, struct stat *ret_stat);

/* Return: 0, *ret_target is the caller's to free(); -EINVAL unless it is a link; -ENOMEM. */
int tree_readlink(struct tree *tree, uint64_t id, char **ret_target);

/* Return: 0; -EISDIR, -EINVAL unless it is a file; -ESTALE as well for content that was dropped. */
int tree_read(struct tree *tree, uint64_t id, struct file_content *ret_content);
/*
 * Called for each entry; @cookie is where to go on after it. Return: whether there was room for it;
 * false ends the walk. The tree is locked meanwhile.
 */
typedef bool tree_visit_fn(void *userdata, const char *name, const struct stat *stat,
                           uint64_t cookie);

/*
 * Visit "." and ".." and the children, in an order that stays while the directory changes.
 * @cookie: 0 to begin, or that of the last entry visited
 * @count_references: each child that is visited and accepted counts as looked up (READDIRPLUS)
 * Return: 0; -ENOTDIR, -ESTALE.
 */
int tree_readdir(struct tree *tree, uint64_t id, uint64_t cookie, bool count_references,
                 tree_visit_fn *visit, void *userdata);

/*
 * Visit the names that an earlier process has removed from a directory, once: they are not visited
 * again, unless the visitor refuses one. Of @stat the kind is valid. Return: 0; -ENOMEM: one was
 * refused.
 */
int tree_take_removed(struct tree *tree, uint64_t id, tree_visit_fn *visit, void *userdata);

/* A file, for what counts its readers. */
struct tree_file {
    uint64_t volume;             /* node id of the volume's directory */
    uint64_t edition;            /* of the content: see tree_take_edition() */
    struct file_content content; /* with a reference that is the caller's */
};

/*
 * What a file is, linked or held by the kernel only.
 * Return: 0; -ESTALE, also for content that was dropped; -EISDIR, -EINVAL unless it is a file.
 */
int tree_describe_file(struct tree *tree, uint64_t id, struct tree_file *ret_file);

/* ---- for the publisher; no references are counted */

/*
 * An update begins. Return: its edition: larger than those of all content that there was before,
 * and smaller than those of what the update brings.
 */
uint64_t tree_take_edition(struct tree *tree);

/* Return: 0; -ENOENT, -ENOTDIR, -ESTALE. */
int tree_find(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat);
/* As above along a path ("a/b"). */
int tree_find_path(struct tree *tree, uint64_t parent, const char *path, struct stat *ret_stat);
/*
 * Find a node that was unlinked and that the kernel still holds, by the path from the root that it
 * had: as mountinfo shows it, without "//deleted".
 * Return: 0; -ENOENT.
 */
int tree_find_unlinked(struct tree *tree, const char *path, struct stat *ret_stat);

/* ---- changes, by the publisher; ids that are returned count a reference as tree_lookup() does */

/*
 * The next tree_mkdir() of @name for this thread makes a directory that is already filled with
 * @payload: files with their modes and owners, and what directories their paths need (F2: 0755).
 * NULL forgets it.
 * @payload: a reference is taken
 * @is_live: whether the files are live from the beginning
 * Return: 0 or -ENOMEM.
 */
int tree_stage(struct tree *tree, const char *name, struct payload *payload, bool is_live);

/*
 * What the next tree_mknod(), or tree_mkdir() of another name than the one above, makes for this
 * thread.
 */
void tree_stage_node(struct tree *tree, const struct staged_node *staged);

/* @thread: that makes the call. Return: 0; -EEXIST, -ENOENT, -ENOTDIR, -ENOMEM. */
int tree_mkdir(struct tree *tree, pid_t thread, uint64_t parent, const char *name, mode_t mode,
               struct stat *ret_stat);
int tree_symlink(struct tree *tree, uint64_t parent, const char *name, const char *target,
                 struct stat *ret_stat);
/* @thread: that makes the call. Return: 0; -EEXIST, -ENOENT, -ENOTDIR, -ENOMEM; -EROFS when nothing
 * is staged. */
int tree_mknod(struct tree *tree, pid_t thread, uint64_t parent, const char *name,
               struct stat *ret_stat);
/* Over an existing link only. Return: 0; -ENOENT, -EISDIR, -EXDEV for another directory. */
int tree_rename(struct tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                const char *new_name);
/*
 * Two nodes of one kind take each other's name (RENAME_EXCHANGE).
 * Return: 0; -ENOENT; -EINVAL for nodes of two kinds.
 */
int tree_exchange(struct tree *tree, uint64_t parent_a, const char *name_a, uint64_t parent_b,
                  const char *name_b);
int tree_unlink(struct tree *tree, uint64_t parent, const char *name);
/* Return: 0; -ENOENT, -ENOTDIR, -ENOTEMPTY. */
int tree_rmdir(struct tree *tree, uint64_t parent, const char *name);
/*
 * Unlink a node, with all that is below it, without the kernel: it lives until the kernel forgets
 * it.
 */
void tree_detach(struct tree *tree, uint64_t id);
/* Return of both: 0; -ESTALE. An owner of -1 is left unchanged. */
int tree_chmod(struct tree *tree, uint64_t id, mode_t mode);
int tree_chown(struct tree *tree, uint64_t id, uid_t uid, gid_t gid);

/*
 * Have the next rename of a link in the directory @parent call @commit, once, with the tree locked:
 * what it does and the rename are one change for readers. One for each directory, and
 * STAGES_MAX at a time.
 */
typedef void tree_commit_fn(void *userdata);
void tree_arm(struct tree *tree, uint64_t parent, tree_commit_fn *commit, void *userdata);
/* Undo that if it was armed with @userdata and has not been called. */
void tree_disarm(struct tree *tree, const void *userdata);

/* ---- the objects that work on its nodes: live_file.c, live_switch.c */

/* Borrowed; its lock is the tree's. */
struct node_table;
struct node_table *tree_nodes(struct tree *tree);

/* ---- numbers */

struct tree_usage {
    size_t n_nodes;
    size_t content_bytes; /* of files linked in the tree and of those the kernel still holds */
    size_t held_bytes;    /* objects that readers hold, see held.h */
    uint64_t n_dropped;   /* held files and open files whose content was dropped, so far */
};

struct tree_usage tree_usage(struct tree *tree);

/*
 * How many files of older generations, and open files of older versions, readers hold.
 * @id: node id of the volume's directory
 */
size_t tree_held_files(struct tree *tree, uint64_t id);

/* How many files of a volume lost their content to its limit. @id: node id of its directory */
uint64_t tree_dropped(struct tree *tree, uint64_t id);
