/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock on RUN_DIR/node.lock keeps a second daemon out.
 *
 * Of the mounts that a killed daemon left, and that this process does not take over, only those on
 * the mount points in the run directory are detached, since they are mounted again. Targets, and
 * bind mounts that others made of them, stay: a reader gets ENOTCONN there. Without the mount a
 * reader, or a container that starts, would find an empty directory, or an empty file, in place of
 * its secret. The next publish on a target replaces the dead mount (target.c), an unpublish
 * detaches it.
 */
#include "node/run_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "serve/mounts.h"

#define LOCK_NAME     "node.lock"
#define MOUNTS_ON_MAX 64 /* stacked on one mount point; each start of a daemon may add one */

static const char *const mounts[] = {RUN_DIR_MOUNT, RUN_DIR_MOUNT_LIVE};

/* ---- the lock */

/* The process id in the file is only for this message. */
static int report_holder(int fd, const char *path, struct error *e)
{
    char text[16] = "";

    if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return error_set(e, -EBUSY,
                     "another secretfs node%s%s serves %s; end it first, or give this one a "
                     "--run-dir, a --driver-name and sockets of its own",
                     text[0] != '\0' ? ", process " : "", text, path);
}

static int take_lock(int dir_fd, const char *path, int *ret_lock_fd, struct error *e)
{
    _cleanup_(fd_closep) int fd =
        openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot open %s/" LOCK_NAME, path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return report_holder(fd, path, e);
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", getpid()) < 0)
        return error_set_errno(e, negative_errno(), "cannot write %s/" LOCK_NAME, path);
    *ret_lock_fd = TAKE_FD(fd);
    return 0;
}

/* Other users must not create files there, nor reach volumes through it. */
static int check_owner(int dir_fd, const char *path, struct error *e)
{
    struct stat status;

    if (fstat(dir_fd, &status) < 0)
        return error_set_errno(e, negative_errno(), "cannot stat %s", path);
    if (status.st_uid != geteuid() || (status.st_mode & 0022) != 0)
        return error_set(
            e, -EPERM,
            "%s must belong to the user of this process, and only its owner may write to it", path);
    return 0;
}

int run_dir_open(const char *path, int *ret_lock_fd, struct error *e)
{
    _cleanup_(fd_closep) int dir_fd = -1, lock_fd = -1;
    int r;

    assert(path[0] == '/');
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, negative_errno(), "cannot create the directory %s", path);
    dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot open the directory %s", path);
    r = check_owner(dir_fd, path, e);
    if (r == 0)
        r = take_lock(dir_fd, path, &lock_fd, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ELEMENTS_OF(mounts); i++)
        if (mkdirat(dir_fd, mounts[i], 0700) < 0 && errno != EEXIST)
            return error_set_errno(e, negative_errno(), "cannot create %s/%s", path, mounts[i]);
    *ret_lock_fd = TAKE_FD(lock_fd);
    return 0;
}

/* ---- leftovers */

/* Return: the number of mounts that were detached from the mount point; -errno. */
static int detach_all(const char *mountpoint)
{
    int n = 0, r = 0;

    while (r == 0 && n < MOUNTS_ON_MAX && mounts_is_mountpoint(mountpoint)) {
        r = mounts_detach(mountpoint);
        n++;
    }
    return r < 0 ? r : n;
}

int run_dir_detach_leftovers(const char *path, const char *name, struct error *e)
{
    _cleanup_(freep) char *resolved = realpath(path, NULL), *mountpoint = NULL;
    int n;

    assert(path[0] == '/');
    if (asprintf(&mountpoint, "%s/%s", resolved != NULL ? resolved : path, name) < 0) {
        mountpoint = NULL;
        return error_set_errno(e, -ENOMEM, "cannot look for mounts of an earlier process");
    }
    n = detach_all(mountpoint);
    if (n < 0)
        error_set_errno(e, n, "cannot detach the mount of an earlier process on %s", mountpoint);
    return n;
}
