/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The names in a directory of the tree. */
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
/* Return: 0 or -ENOMEM. @text is copied. */
int names_add(struct names *names, const char *text, size_t len, const struct stat *stat);
void names_deinit(struct names *names);

/*
 * The path of a name, or of a path, in a directory.
 * @directory: "." and "" are where the path begins
 * @name: "" is the directory itself
 * Return: the caller's to free(); NULL when out of memory.
 */
char *names_join(const char *directory, const char *name);

void names_sort(struct names *names);
/* Whether sorted names have @text. */
bool names_contain(const struct names *sorted, const char *text);
