/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a worker answers to a system call on a path below the root of a tree, for tests that stand
 * in for these calls. For inclusion behind <cmocka.h>.
 */
#include <errno.h>
#include <string.h>

#include "cache/object.h"
#include "fuse/tree.h"

/* Return: as a system call does, with errno. @r: 0 or -errno */
static inline int answer(int r)
{
    if (r == 0)
        return 0;
    errno = -r;
    return -1;
}

/* The same for what was made. The kernel forgets it at once. */
static inline int answer_made(struct tree *tree, int r, const struct stat *stat)
{
    if (r == 0)
        tree_forget(tree, stat->st_ino, 1);
    return answer(r);
}

/* Find the directory that a path's last element is in. Return: 0; -errno. */
static inline int find_parent(struct tree *tree, const char *path, uint64_t *ret_id,
                              const char **ret_name)
{
    char *above = strdupa(path), *slash = strrchr(above, '/');
    struct stat stat = {0};
    int r;

    *ret_name = slash != NULL ? path + (slash - above) + 1 : path;
    if (slash != NULL)
        *slash = '\0';
    r = tree_find_path(tree, TREE_ROOT_ID, slash != NULL ? above : "", &stat);
    *ret_id = stat.st_ino;
    return r;
}

static inline int answer_symlink(struct tree *tree, const char *target, const char *path)
{
    const char *name;
    uint64_t parent;
    struct stat stat;
    int r = find_parent(tree, path, &parent, &name);

    if (r == 0)
        r = tree_symlink(tree, parent, name, target, &stat);
    return answer_made(tree, r, &stat);
}

static inline int answer_unlink(struct tree *tree, const char *path, bool is_directory)
{
    const char *name;
    uint64_t parent;
    int r = find_parent(tree, path, &parent, &name);

    if (r == 0)
        r = is_directory ? tree_rmdir(tree, parent, name) : tree_unlink(tree, parent, name);
    return answer(r);
}

static inline bool tree_has_content(struct tree *tree, uint64_t id, const char *text)
{
    struct file_content content;
    bool is_same;

    assert_int_equal(tree_read(tree, id, &content), 0);
    is_same = content.len == strlen(text) && memcmp(content.bytes, text, content.len) == 0;
    object_unref(content.object);
    return is_same;
}
