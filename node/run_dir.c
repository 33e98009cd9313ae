/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock on RUN_DIR/node.lock keeps a second daemon out.
 *
 * Mounts that a killed daemon left are found in mountinfo: those on the mount points in the run
 * directory, all others with the same device numbers (targets and bind mounts of them), and those
 * with our source below the pods' directory, whose file system may be unmounted already. Nothing
 * answers their requests any more, so they are detached.
 */
#include "node/run_dir.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/mountinfo.h"

#define LOCK_NAME     "node.lock"
#define LEFTOVERS_MAX 100000u /* the kernel's own limit of mounts */

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

struct leftovers {
    char run_dir[PATH_MAX];
    char targets[PATH_MAX];
    const char *source;
    dev_t devices[ELEMENTS_OF(mounts)]; /* of the mounts in it; 0: none */
    char **paths;
    size_t n;
    bool is_incomplete;
};

static void leftovers_deinit(struct leftovers *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->paths[i]);
    free(l->paths);
}

static bool is_secretfs(const struct mountinfo *mount)
{
    return streq(mount->fs_type, "fuse.secretfs");
}

/* Whether it is mounted on @name in the run directory. */
static bool is_at(const struct leftovers *l, const struct mountinfo *mount, const char *name)
{
    const char *rest = str_after(mount->mountpoint, l->run_dir);

    return rest != NULL && *rest == '/' && streq(rest + 1, name);
}

static bool find_devices(void *userdata, const struct mountinfo *mount)
{
    struct leftovers *l = userdata;

    for (size_t i = 0; i < ELEMENTS_OF(mounts); i++)
        if (is_secretfs(mount) && is_at(l, mount, mounts[i]))
            l->devices[i] = mount->device;
    return true;
}

static bool is_leftover(const struct leftovers *l, const struct mountinfo *mount)
{
    const char *rest;

    if (!is_secretfs(mount))
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(mounts); i++)
        if (is_at(l, mount, mounts[i]) || (l->devices[i] != 0 && mount->device == l->devices[i]))
            return true;
    rest = str_after(mount->mountpoint, l->targets);
    return rest != NULL && *rest == '/' && streq(mount->source, l->source);
}

static bool collect(void *userdata, const struct mountinfo *mount)
{
    struct leftovers *l = userdata;
    char **paths;

    if (!is_leftover(l, mount) || l->n == LEFTOVERS_MAX)
        return true;
    /* the array doubles: it is full when the number is a power of two */
    if ((l->n & (l->n - 1)) == 0) {
        paths = reallocarray(l->paths, l->n == 0 ? 1 : l->n * 2, sizeof(*paths));
        if (paths == NULL) {
            l->is_incomplete = true;
            return false;
        }
        l->paths = paths;
    }
    l->paths[l->n] = strdup(mount->mountpoint);
    l->is_incomplete = l->paths[l->n] == NULL;
    l->n += !l->is_incomplete;
    return !l->is_incomplete;
}

static void resolve(const char *path, char ret_path[static PATH_MAX])
{
    char *resolved = realpath(path, NULL);

    snprintf(ret_path, PATH_MAX, "%s", resolved != NULL ? resolved : path);
    free(resolved);
}

int run_dir_detach_leftovers(const char *path, const char *source, const char *targets,
                             struct error *e)
{
    _cleanup_(leftovers_deinit) struct leftovers l = {.source = source};
    int r, n = 0;

    assert(path[0] == '/' && targets[0] == '/');
    resolve(path, l.run_dir);
    resolve(targets, l.targets);
    r = mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", find_devices, &l);
    if (r == 0)
        r = mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", collect, &l);
    if (r < 0 || l.is_incomplete)
        return error_set_errno(e, r < 0 ? r : -ENOMEM,
                               "cannot read the mounts of earlier processes");
    /* the last mount is the topmost */
    for (size_t i = l.n; i > 0; i--)
        n += umount2(l.paths[i - 1], MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
    return n;
}
