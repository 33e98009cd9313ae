/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file_access.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/privileged.h"
#include "base/util.h"

struct access {
    int fd; /* of a directory, or of inotify */
    const char *path;
    int flags;
    uint32_t mask;
    struct stat *status;
    char *target;
    size_t size;
};

static int result_of(ssize_t r)
{
    return r < 0 ? negative_errno() : (int)r;
}

static int run_open(void *arguments)
{
    const struct access *a = arguments;

    return result_of(openat(a->fd, a->path, O_RDONLY | O_CLOEXEC | a->flags));
}

static int run_stat(void *arguments)
{
    const struct access *a = arguments;

    return result_of(fstatat(a->fd, a->path, a->status, a->flags));
}

static int run_read_link(void *arguments)
{
    const struct access *a = arguments;

    return result_of(readlink(a->path, a->target, a->size));
}

static int run_watch(void *arguments)
{
    const struct access *a = arguments;

    return result_of(inotify_add_watch(a->fd, a->path, a->mask));
}

int file_access_open(int dir_fd, const char *path, int flags)
{
    struct access a = {.fd = dir_fd, .path = path, .flags = flags};

    return privileged_retry(run_open, &a);
}

int file_access_stat(int dir_fd, const char *path, int flags, struct stat *ret_status)
{
    struct access a = {.fd = dir_fd, .path = path, .flags = flags, .status = ret_status};

    return privileged_retry(run_stat, &a);
}

int file_access_read_link(const char *path, char *ret_target, size_t size)
{
    struct access a = {.path = path, .target = ret_target, .size = size};

    return privileged_retry(run_read_link, &a);
}

int file_access_watch(int inotify_fd, const char *path, uint32_t mask)
{
    struct access a = {.fd = inotify_fd, .path = path, .mask = mask};

    return privileged_retry(run_watch, &a);
}
