/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keeper that is killed leaves its directory behind, and a later one removes it. It removes what
 * no keeper can be using:
 *
 *  - it is a directory of this user, of mode 0700, with a keeper's name. In /tmp another user can
 *    make one of that name, but not one that belongs to this user
 *  - its lock (flock(2) of the directory itself) is free. A keeper has it from the making of the
 *    directory to its end, and the kernel gives it up with the process
 *  - no process receives at its socket. That is so from before keepers locked their directories
 *
 * The directory is opened first, and all of this is asked of the descriptor. A keeper that has just
 * made its directory may find it removed before it could lock it, and makes another one:
 *
 *     keeper                          another one, which starts as well
 *     mkdtemp()
 *                                     opens and locks it, removes it
 *     opens it: ENOENT, or locks it
 *     and finds it without a name
 */
#include "keeper/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/util.h"

#define NAME_PREFIX "secretfs-keeper-"
#define NAME_RANDOM "XXXXXX"
#define TRIES_MAX   10 /* each fails only if another keeper starts in the same moment */

#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- making */

/* Return: a locked descriptor; -EAGAIN: another keeper has removed it. */
static int lock_own(const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, OPEN_FLAGS);
    struct stat status;

    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : negative_errno();
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : negative_errno();
    if (fstat(fd, &status) < 0)
        return negative_errno();
    return status.st_nlink > 0 ? TAKE_FD(fd) : -EAGAIN;
}

/* Return: as keeper_directory_make(). */
static int make_in(const char *parent, char path[static KEEPER_DIRECTORY_SIZE])
{
    int fd = -EAGAIN;

    for (unsigned tries = 0; fd == -EAGAIN && tries < TRIES_MAX; tries++) {
        int len = snprintf(path, KEEPER_DIRECTORY_SIZE, "%s/" NAME_PREFIX NAME_RANDOM, parent);

        if (len >= KEEPER_DIRECTORY_SIZE)
            return -ENAMETOOLONG;
        if (mkdtemp(path) == NULL)
            return negative_errno();
        fd = lock_own(path);
    }
    return fd;
}

int keeper_directory_make(const char *const *parents, size_t n,
                          char ret_path[static KEEPER_DIRECTORY_SIZE])
{
    int fd = -ENOENT;

    for (size_t i = 0; fd < 0 && i < n; i++)
        if (parents[i] != NULL && parents[i][0] == '/')
            fd = make_in(parents[i], ret_path);
    if (fd < 0)
        ret_path[0] = '\0';
    return fd;
}

/* ---- removing */

static bool is_name(const char *name)
{
    const char *random = str_after(name, NAME_PREFIX);

    return random != NULL && strlen(random) == strlen(NAME_RANDOM);
}

static bool is_own(int fd, struct stat *ret_status)
{
    return fstat(fd, ret_status) == 0 && ret_status->st_uid == geteuid() &&
           (ret_status->st_mode & 07777) == 0700;
}

/* The path of the socket by the descriptor of its directory. Whether no process receives there. */
static bool is_refused(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_(fd_closep) int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" KEEPER_SOCKET_NAME,
             fd);
    return probe >= 0 && connect(probe, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
           errno == ECONNREFUSED;
}

static bool has_no_receiver(int fd)
{
    struct stat status;

    if (fstatat(fd, KEEPER_SOCKET_NAME, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT;
    return S_ISSOCK(status.st_mode) && is_refused(fd);
}

/* The name may be another directory's by now; rmdir(2) removes an empty one only. */
static void remove_named(int parent_fd, const char *name, const struct stat *directory)
{
    struct stat status;

    if (fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_dev == directory->st_dev && status.st_ino == directory->st_ino)
        unlinkat(parent_fd, name, AT_REMOVEDIR);
}

static void remove_if_abandoned(int parent_fd, const char *name)
{
    _cleanup_(fd_closep) int fd = openat(parent_fd, name, OPEN_FLAGS);
    struct stat status;

    if (fd < 0 || !is_own(fd, &status) || flock(fd, LOCK_EX | LOCK_NB) < 0 || !has_no_receiver(fd))
        return;
    unlinkat(fd, KEEPER_SOCKET_NAME, 0);
    remove_named(parent_fd, name, &status);
}

void keeper_directory_remove_abandoned(const char *parent)
{
    DIR *all = opendir(parent);
    const struct dirent *entry;

    if (all == NULL)
        return;
    while ((entry = readdir(all)) != NULL)
        if (is_name(entry->d_name))
            remove_if_abandoned(dirfd(all), entry->d_name);
    closedir(all);
}
