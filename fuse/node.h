/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Nodes of the tree: directories, files and links, their names and their lives. Private to the tree
 * (tree.c, live_file.c, live_switch.c). See node.c.
 *
 * Thread: any that holds the tree's lock (TREE_LOCK()).
 */
#include <pthread.h>

#include "base/clock.h"
#include "base/list.h"
#include "fuse/tree.h"

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_LINK };

/* What a file has besides its content once that may change; see live_file.h. */
struct node_live {
    uint64_t version;       /* of the content; counts up */
    struct list opens;      /* of all versions, the newest last */
    unsigned n_opens;       /* open files of this version */
    unsigned n_unread;      /* of these, not yet read to their end */
    unsigned n_older_opens; /* open files of older versions */
    mono_us opened_at;      /* the newest open file */
    bool is_switching;      /* its next content is prepared */
    bool has_old_pages;     /* the kernel may: it was not opened since its content changed */
};

struct node {
    uint64_t id;
    uint64_t n_references; /* the kernel's */
    enum node_kind kind;
    mode_t mode; /* permissions */
    uid_t uid;
    gid_t gid;
    struct timespec changed;
    /* linked nodes only; the root is its own parent and has no name */
    struct node *parent;
    char *name;
    struct list link;
    uint64_t cookie;
    union {
        struct {
            struct list children;
            uint64_t next_cookie;
            size_t n_children;
            size_t n_subdirectories;
        } directory;
        struct {
            struct tree_content content;
            struct node_live *live;  /* NULL: immutable */
            unsigned n_cached_opens; /* open files that read the kernel's pages */
        } file;
        char *target;
    };
};

struct tree {
    pthread_mutex_t lock; /* everything below */
    uint64_t next_id;
    void *by_id;
    void *by_name;
    struct node *root;
    struct list unlinked; /* nodes without a name that are held or still have something in them */
    bool answers_open;
    char *staged_name;
    struct payload *staged_payload;
    bool is_staged_live;
    struct tree_staged_node staged_node;
    struct live_switch *armed; /* is committed by the next rename in armed_in; or NULL */
    uint64_t armed_in;         /* node id of a directory */
    struct tree_usage usage;
};

void tree_unlock(struct tree **t);

/* Hold the lock until the end of the enclosing block. */
#define TREE_LOCK(t)                                                                               \
    _cleanup_(tree_unlock) struct tree *_locked = (t);                                             \
    pthread_mutex_lock(&_locked->lock)

/* ---- finding; NULL if there is no such node */

struct node *node_by_id(struct tree *t, uint64_t id);
struct node *node_file_by_id(struct tree *t, uint64_t id);
/* The same for a request. Return: 0; -ESTALE; -EISDIR, -EINVAL for a node of another kind. */
int node_find_file(struct tree *t, uint64_t id, struct node **ret_file);
struct node *node_by_name(struct tree *t, struct node *parent, const char *name);
/* @path: relative to @directory; "" is the directory itself */
struct node *node_by_path(struct tree *t, struct node *directory, const char *path);

/*
 * The nodes below @top, each directory before its children. @n: the one visited last, or @top.
 * Return: the next one; NULL at the end.
 */
struct node *node_next(const struct node *top, const struct node *n);

/* ---- making */

/* A node that is linked nowhere. Return: NULL for want of memory. */
struct node *node_new(struct tree *t, enum node_kind kind, mode_t mode);
/*
 * Make a node and link it. It belongs to the owner of its directory; directories in one that is
 * setgid are setgid as well, as in other file systems. Return: NULL for want of memory.
 */
struct node *node_add(struct tree *t, struct node *parent, const char *name, enum node_kind kind,
                      mode_t mode);
/* @path: of a file below @directory; missing directories on the way are made (F2: 0755). */
struct node *node_add_file(struct tree *t, struct node *directory, const char *path,
                           const struct payload_file *file);
/* A copy of @original and all that is below it, with the content that this has now; immutable. */
struct node *node_add_copy(struct tree *t, struct node *parent, const char *name,
                           const struct node *original);

/* ---- changing */

/* Give an unlinked node a name. Return: 0 or -ENOMEM, then it is not linked. */
int node_link(struct tree *t, struct node *parent, const char *name, struct node *n);
/* Take the name away; the node lives on while the kernel holds it. */
void node_unlink(struct tree *t, struct node *n);
void node_unlink_children(struct tree *t, struct node *directory);
/* Move a node to another name in its directory, in the place of @old if that is not NULL. Return: 0
 * or -ENOMEM, then nothing was done. */
int node_rename(struct tree *t, struct node *n, const char *new_name, struct node *old);
/* Two nodes take each other's place. */
void node_exchange(struct tree *t, struct node *a, struct node *b);
/* Return: 0 or -ENOMEM. */
int node_make_live(struct node *file);
/* A new file has no content yet; the content of an old one goes. References are taken. */
void node_set_content(struct tree *t, struct node *file, const struct tree_content *content);

/* -1 for what is to stay. */
void node_set_owner(struct node *n, uid_t uid, gid_t gid);
void node_forget(struct tree *t, struct node *n, uint64_t n_references);
/* All of them; the tree is about to be freed. */
void node_free_all(struct tree *t);

void node_stat(const struct node *n, struct stat *ret_stat);
static inline bool node_is_linked(const struct node *n)
{
    return n->parent != NULL;
}
