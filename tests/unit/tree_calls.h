/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Stands in for the system calls on files of a mount, for tests of a tree without one: each does
 * what a worker would have answered, is recorded, and can be made to fail. For inclusion behind
 * <cmocka.h> in the one source file of a test program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "cache/object.h"

#include "tests/unit/assert_between.h"
#include "tests/unit/tree_answers.h"

#define ROOT_FD   4711 /* no real descriptor */
#define FDS_MAX   64
#define PATH_SIZE 128

static struct {
    struct tree *tree;
    char calls[2048]; /* made so far, each with a blank before it; paths from the root, generations
                         as "TS" */
    unsigned countdown; /* the call that makes it 0 fails; 0: none does */
    bool has_failed;
    bool kills;                     /* the process ends instead: what follows does not happen */
    bool is_writing;                /* there is a writable view, which the calls need */
    bool has_volumes;               /* and not only what is mounted alone of them */
    char paths[FDS_MAX][PATH_SIZE]; /* of what is open */
} kernel;

/* What comes first in a path that is named after its time, or NULL. */
static inline const char *find_generation(const char *path)
{
    const char *at = path;

    while ((at = strstr(at, "..")) != NULL)
        if (at[2] >= '0' && at[2] <= '9')
            return at;
        else
            at += 2;
    return NULL;
}

static inline void note(const char *call, const char *path)
{
    size_t used = strlen(kernel.calls);
    const char *generation = find_generation(path);
    int before = (int)(generation != NULL ? (size_t)(generation - path) : strlen(path));

    snprintf(kernel.calls + used, sizeof(kernel.calls) - used, " %s:%.*s%s%s", call, before, path,
             generation != NULL ? "TS" : "",
             generation != NULL ? generation + strcspn(generation, "/") : "");
}

static inline bool fails(const char *call, const char *path)
{
    bool is_dead = kernel.kills && kernel.has_failed;

    assert_true(kernel.is_writing);
    errno = EIO;
    if (is_dead)
        return true;
    note(call, path);
    if (kernel.countdown == 0 || --kernel.countdown > 0)
        return false;
    kernel.has_failed = true;
    return true;
}

struct path {
    char whole[PATH_SIZE * 2]; /* from the root */
    uint64_t parent;
    const char *name;
    int error; /* of finding the parent */
    uint64_t id;
    mode_t mode;
    int id_error; /* of finding the node */
};

static inline void path_init(struct path *path, int fd, const char *relative)
{
    const char *directory = fd == ROOT_FD ? "" : kernel.paths[fd], *slash;
    char above[PATH_SIZE * 2] = "";
    struct stat stat = {0};

    assert_true(fd == ROOT_FD || fd < FDS_MAX);
    snprintf(path->whole, sizeof(path->whole), "%s%s%s", directory,
             *directory != '\0' && !streq(relative, ".") ? "/" : "",
             streq(relative, ".") ? "" : relative);
    slash = strrchr(path->whole, '/');
    path->name = slash != NULL ? slash + 1 : path->whole;
    if (slash != NULL)
        memcpy(above, path->whole, (size_t)(slash - path->whole));
    path->error = tree_find_path(kernel.tree, TREE_ROOT_ID, above, &stat);
    path->parent = stat.st_ino;
    path->id_error = tree_find_path(kernel.tree, TREE_ROOT_ID, path->whole, &stat);
    path->id = stat.st_ino;
    path->mode = stat.st_mode;
}

/* Of a directory, or of a file to raise an event. */
int openat(int fd, const char *relative, int flags, ...)
{
    bool is_directory = (flags & O_DIRECTORY) != 0;
    struct path path;
    int new_fd;

    if ((flags & O_PATH) == 0 && (flags & O_ACCMODE) == O_RDONLY) /* writer_open_first() */
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (is_directory && kernel.has_volumes)
        flags |= O_NOFOLLOW; /* not asked for with a volume's own directory */
    assert_int_equal(flags, is_directory ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
                                         : O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    path_init(&path, fd, relative);
    if (is_directory && fails("open", path.whole))
        return -1;
    if (path.id_error < 0)
        return answer(path.id_error);
    if (S_ISDIR(path.mode) != is_directory)
        return answer(is_directory ? -ENOTDIR : -EISDIR);
    new_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_between(new_fd, 0, FDS_MAX - 1);
    assert_true(strlen(path.whole) < PATH_SIZE);
    memcpy(kernel.paths[new_fd], path.whole, strlen(path.whole) + 1);
    return new_fd;
}

int mkdirat(int fd, const char *relative, mode_t mode)
{
    struct path path;
    struct stat stat;

    path_init(&path, fd, relative);
    if (!kernel.has_volumes || mode != 0700) /* as a generation is made */
        assert_int_equal(mode, 0755);
    if (fails("mkdir", path.whole))
        return -1;
    return answer_made(kernel.tree,
                       path.error < 0
                           ? path.error
                           : tree_mkdir(kernel.tree, gettid(), path.parent, path.name, mode, &stat),
                       &stat);
}

int mknodat(int fd, const char *relative, mode_t mode, dev_t dev)
{
    struct path path;
    struct stat stat;

    path_init(&path, fd, relative);
    assert_true(S_ISREG(mode));
    assert_int_equal(dev, 0);
    if (fails("mknod", path.whole))
        return -1;
    return answer_made(kernel.tree,
                       path.error < 0
                           ? path.error
                           : tree_mknod(kernel.tree, gettid(), path.parent, path.name, &stat),
                       &stat);
}

int unlinkat(int fd, const char *relative, int flags)
{
    bool is_directory = (flags & AT_REMOVEDIR) != 0;
    struct path path;

    path_init(&path, fd, relative);
    if (fails(is_directory ? "rmdir" : "unlink", path.whole))
        return -1;
    assert_int_equal(path.error, 0);
    return answer(is_directory ? tree_rmdir(kernel.tree, path.parent, path.name)
                               : tree_unlink(kernel.tree, path.parent, path.name));
}

/* ---- what the tests see */

static inline uint64_t find(const char *path)
{
    struct stat stat;

    assert_int_equal(tree_find_path(kernel.tree, TREE_ROOT_ID, path, &stat), 0);
    return stat.st_ino;
}

static inline bool exists(const char *path)
{
    struct stat stat;

    return tree_find_path(kernel.tree, TREE_ROOT_ID, path, &stat) == 0;
}

static inline bool has_content(uint64_t id, const char *text)
{
    return tree_has_content(kernel.tree, id, text);
}
