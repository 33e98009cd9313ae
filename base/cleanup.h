/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Scope-bound cleanup.
 *
 * A local that owns something says so in its declaration, and is released wherever the scope is
 * left:
 *
 *     _cleanup_(object_unrefp) struct object *object = NULL;
 *     _cleanup_(fd_closep) int fd = -1;
 *
 * TAKE() and TAKE_FD() move it out, for the caller.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines FUNCp(), which a cleanup attribute can name, for `TYPE FUNC(TYPE)` with NULL allowed. */
#define DEFINE_CLEANUP(type, func)                                                                 \
    static inline void func##p(type *p)                                                            \
    {                                                                                              \
        if (*p != NULL)                                                                            \
            func(*p);                                                                              \
    }

#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) *_take_from = &(p);                                                          \
        __typeof__(p) _taken = *_take_from;                                                        \
        *_take_from = NULL;                                                                        \
        _taken;                                                                                    \
    })

/* Closes fd unless it is -1, keeps errno. Return: -1, so that `fd = fd_close(fd)` clears it. */
static inline int fd_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return -1;
}

static inline void fd_closep(int *fd)
{
    *fd = fd_close(*fd);
}

static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define TAKE_FD(fd) fd_take(&(fd))

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void file_closep(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

static inline void dir_closep(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}
