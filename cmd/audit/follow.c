/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/audit/follow.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define INTERVAL    SPAN_MS(200)
#define CHUNK_BYTES 65536u

/* An audit has printable ASCII only (consumers/audit_line.h); in another file a terminal may follow
 * the rest. */
static void replace_unprintable(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != '\n' && (text[i] < ' ' || text[i] >= 0x7f))
            text[i] = '?';
}

/* Return: 0; 1: standard output was closed; -errno. */
static int copy(int fd)
{
    char chunk[CHUNK_BYTES];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        replace_unprintable(chunk, (size_t)n);
        if (fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
            return 1;
    }
    if (fflush(stdout) != 0)
        return 1;
    return n < 0 ? negative_errno() : 0;
}

static bool has_name(const char *path, int fd)
{
    struct stat named, opened;

    return stat(path, &named) == 0 && fstat(fd, &opened) == 0 && named.st_dev == opened.st_dev &&
           named.st_ino == opened.st_ino;
}

/* Copy what the file gets until its name goes to another. Return: as copy(). */
static int copy_until_moved(const char *path, int fd)
{
    for (;;) {
        bool is_last = !has_name(path, fd); /* before the copy: nothing is added after that */
        int r = copy(fd);

        if (r != 0 || is_last)
            return r;
        usleep(INTERVAL);
    }
}

/* Without @is_first a file is read from its beginning. Return: as copy(). */
static int follow_one(const char *path, bool is_first)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && errno == ENOENT) {
        usleep(INTERVAL);
        return 0;
    }
    if (fd < 0 || (is_first && lseek(fd, 0, SEEK_END) < 0))
        return negative_errno();
    return copy_until_moved(path, fd);
}

static int copy_whole(const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    return fd < 0 ? negative_errno() : copy(fd);
}

int audit_follow(const char *path, bool is_following, struct error *e)
{
    int r;

    if (!is_following) {
        r = copy_whole(path);
    } else {
        r = follow_one(path, true);
        while (r == 0)
            r = follow_one(path, false);
    }
    return r < 0 ? error_set_errno(e, r, "cannot read the audit in %.300s", path) : 0;
}
