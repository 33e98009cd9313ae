/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The names in a directory of the tree. Thread: any; a list is one thread's at a time. */
#include "fuse/tree.h"

struct name {
    char *text;
    uint64_t id; /* of its node */
    bool is_directory;
};

struct names {
    struct name *all;
    size_t n;
    size_t capacity;
    bool is_incomplete; /* out of memory */
};

/*
 * Add the names in a directory, oldest first, without "." and "..". They are not read through the
 * mount, whose kernel caches the listing.
 * Return: 0; -ENOTDIR, -ESTALE, -ENOMEM, then some may have been added.
 */
int names_read(struct names *names, struct tree *tree, uint64_t dir_id);
/* The same of those that an earlier process has removed; once. Return: 0 or -ENOMEM. */
int names_take_removed(struct names *names, struct tree *tree, uint64_t dir_id);
/* Return: 0 or -ENOMEM. @text is copied. */
int names_add(struct names *names, const char *text, size_t len, const struct stat *stat);
void names_deinit(struct names *names);

/*
 * Visit all that is below a directory, each directory after what is in it. The visitor may remove
 * what it is given. The depth is a spec's choice, so nothing of this is on the stack.
 * @path: of the directory; those that are given to @visit begin with it, see names_join()
 * @visit: not 0 ends the walk
 * Return: 0; what @visit returned; those of names_read().
 */
typedef int names_visit_fn(void *userdata, const char *path, const struct name *name);
int names_walk(struct tree *tree, uint64_t dir_id, const char *path, names_visit_fn *visit,
               void *userdata);

/*
 * The path of a name, or of a path, in a directory.
 * @directory: "." and "" are where the path begins
 * @name: "" is the directory itself
 * Return: the caller's to free(); NULL when out of memory.
 */
char *names_join(const char *directory, const char *name);

/* In the order of strcmp(3). */
void names_sort(struct names *names);
/* Whether sorted names have @text. */
bool names_contain(const struct names *sorted, const char *text);
