/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is read under a read lease (fcntl(2), F_SETLEASE). The kernel grants it only while no
 * process has the file open for writing, and blocks a process that then opens it for writing until
 * the lease is released. So a half-written file is never read, whether inotify has reported the
 * write or not, and the content is of one version. Where the kernel grants no leases, inotify's
 * events and the file's times before and after the read decide.
 *
 * A process that waits for a lease makes the kernel signal the holder with SIGIO, which would end
 * it. F_SETSIG selects a signal that is ignored by default.
 */
#include "base/file_read.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file_access.h"

/*
 * In a volume of a kubelet a path leads through ..data. If that is renamed, and the old generation
 * is removed, after the kernel has followed the old ..data, the file seems to be missing. The next
 * try follows the new one, and a kubelet changes its directories once a second at most.
 */
#define OPEN_TRIES 4

/* More than a tick of the clock that stamps files, which has at least 100 per second. */
#define RECENT_NS 20000000

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_stamp_holds(const struct file_stamp *stamp, const struct stat *now)
{
    return !stamp->is_recent && stamp->dev == now->st_dev && stamp->ino == now->st_ino &&
           stamp->size == now->st_size && same_time(&stamp->mtime, &now->st_mtim) &&
           same_time(&stamp->ctime, &now->st_ctim);
}

static bool is_recent(const struct timespec *changed)
{
    struct timespec now;
    int64_t age_ns;

    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* the one that stamps files */
    if (now.tv_sec - changed->tv_sec > 1)
        return false;
    age_ns = (now.tv_sec - changed->tv_sec) * 1000000000 + now.tv_nsec - changed->tv_nsec;
    return age_ns < RECENT_NS;
}

static struct file_stamp stamp_of(const struct stat *st)
{
    return (struct file_stamp){.dev = st->st_dev,
                               .ino = st->st_ino,
                               .size = st->st_size,
                               .mtime = st->st_mtim,
                               .ctime = st->st_ctim,
                               .is_recent = is_recent(&st->st_ctim)};
}

enum lease { LEASE_HELD, LEASE_WRITER, LEASE_UNKNOWN };

/* The kernel releases it when the descriptor is closed. */
static enum lease take_lease(int fd)
{
    /* a process without a handler ignores SIGURG */
    if (fcntl(fd, F_SETSIG, SIGURG) < 0)
        return LEASE_UNKNOWN;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) >= 0)
        return LEASE_HELD;
    return errno == EAGAIN ? LEASE_WRITER : LEASE_UNKNOWN;
}

static int too_large(const char *name, size_t max_bytes, struct error *e)
{
    bool is_whole = max_bytes % (1u << 20) == 0;

    return error_set(e, -EFBIG, "%.255s: the file is larger than %zu %s: divide it", name,
                     is_whole ? max_bytes >> 20 : max_bytes >> 10, is_whole ? "MiB" : "KiB");
}

static int cannot_read(const char *name, int code, struct error *e)
{
    return error_set_errno(e, code, "%.255s: cannot read the file", name);
}

/* @fd: a regular file's. */
static int read_unwritten(int fd, const char *name, bool may_be_written, struct buf *buf,
                          struct file_stamp *ret_stamp, struct error *e)
{
    enum lease lease = take_lease(fd);
    struct stat before, after;
    int r;

    if (lease == LEASE_WRITER || (lease == LEASE_UNKNOWN && may_be_written))
        return FILE_READ_BUSY;
    if (fstat(fd, &before) < 0)
        return cannot_read(name, negative_errno(), e);
    if (before.st_size > (off_t)buf->max_len)
        return too_large(name, buf->max_len, e);
    r = buf_read_fd(buf, fd);
    if (r < 0)
        return r == -EFBIG ? too_large(name, buf->max_len, e) : cannot_read(name, r, e);
    if (fstat(fd, &after) < 0)
        return cannot_read(name, negative_errno(), e);
    *ret_stamp = stamp_of(&before);
    ret_stamp->is_recent = false;
    if (!file_stamp_holds(ret_stamp, &after) && lease != LEASE_HELD)
        return FILE_READ_BUSY;
    *ret_stamp = stamp_of(&after);
    return 0;
}

int file_read(int dir_fd, const char *name, bool may_be_written, struct buf *buf,
              struct file_stamp *ret_stamp, struct error *e)
{
    /* O_NONBLOCK: neither a pipe nor another process's lease may block the loop */
    _cleanup_(fd_closep) int fd = file_access_open(dir_fd, name, O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd == -EWOULDBLOCK)
        return FILE_READ_BUSY;
    if (fd < 0)
        return cannot_read(name, fd, e);
    if (fstat(fd, &st) < 0)
        return cannot_read(name, negative_errno(), e);
    if (!S_ISREG(st.st_mode))
        return FILE_READ_OTHER;
    return read_unwritten(fd, name, may_be_written, buf, ret_stamp, e);
}

/* ---- files that a user names */

static const char *kind_of(const struct stat *st)
{
    switch (st->st_mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

static bool is_null_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int refuse(const char *path, const struct stat *st, struct error *e)
{
    return error_set(e, S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL,
                     "cannot read %s: expected a regular file, not %s", path, kind_of(st));
}

static int load_once(const char *path, struct buf *buf, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat st;
    int r;

    /* before it is opened: opening a device can have effects, and a socket cannot be opened */
    if (file_access_stat(AT_FDCWD, path, 0, &st) == 0 && !S_ISREG(st.st_mode) &&
        !is_null_device(&st))
        return refuse(path, &st, e);
    fd = file_access_open(AT_FDCWD, path, O_NOCTTY | O_NONBLOCK);
    r = fd >= 0 && fstat(fd, &st) < 0 ? negative_errno() : fd;
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    if (!S_ISREG(st.st_mode) && !is_null_device(&st)) /* it was replaced */
        return refuse(path, &st, e);
    r = buf_read_fd(buf, fd);
    return r < 0 ? error_set_errno(e, r, "cannot read %s", path) : 0;
}

int file_load(const char *path, struct buf *buf, struct error *e)
{
    int r = -ENOENT;

    for (unsigned tries = 0; tries < OPEN_TRIES && r == -ENOENT; tries++)
        r = load_once(path, buf, e);
    return r;
}
