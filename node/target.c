/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet makes the directory around a target, but not the target (S6), which it writes down
 * beside it in vol_data.json (S7): nothing but the target itself is ever touched here.
 *
 * Paths come from outside and lie where pods' own files are. So they are resolved by openat2(2)
 * from a root that is the administrator's, without symbolic links and without "..", once; what
 * follows is done to the descriptor that came of it, not to the path. An O_PATH descriptor and
 * statx(2) without AT_STATX_SYNC ask no file system, so a mount that is dead does not hang or fail
 * here (S11), and one of our own does not make the event loop wait for our own threads.
 */
#include "node/target.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/mountinfo.h"

#define TARGET_MODE   0750 /* as the kubelet makes the directory around it */
#define MOUNTS_ON_MAX 64   /* on one target, one over the other; each start of a daemon adds one */

/* ---- from a path to descriptors */

/* A path cut at its last slash, and where to resolve it from. */
struct location {
    int root_fd;
    char parent[PATH_MAX]; /* relative to the root */
    char name[NAME_MAX + 1];
    uint64_t resolve;
};

#define LOCATION_INIT                                                                              \
    (struct location)                                                                              \
    {                                                                                              \
        .root_fd = -1                                                                              \
    }

static void location_deinit(struct location *l)
{
    l->root_fd = fd_close(l->root_fd);
}

static int refuse(const struct target_area *area, const char *path, struct error *e)
{
    if (area->root == NULL)
        return error_set(e, -EINVAL, "%.256s is no path for a target: it has to be absolute", path);
    return error_set(e, -EINVAL, "the target %.256s is not below %s; is --kubelet-root right?",
                     path, area->root);
}

/* What follows the root, without slashes in front. NULL: it is not below the root. */
static const char *below_root(const struct target_area *area, const char *path)
{
    const char *rest = area->root != NULL ? str_after(path, area->root) : path;

    if (rest == NULL || *rest != '/')
        return NULL;
    return rest + strspn(rest, "/");
}

/* Cut the text. Return: 0; -EINVAL with @e. */
static int cut(const struct target_area *area, const char *path, struct location *l,
               struct error *e)
{
    const char *rest = below_root(area, path);
    const char *slash = rest != NULL ? strrchr(rest, '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : rest;
    int n;

    if (name == NULL || *name == '\0' || streq(name, ".") || streq(name, "..") ||
        strlen(name) > NAME_MAX)
        return refuse(area, path, e);
    n = snprintf(l->parent, sizeof(l->parent), "%.*s", slash != NULL ? (int)(slash - rest) : 1,
                 slash != NULL ? rest : ".");
    if (n < 0 || (size_t)n >= sizeof(l->parent))
        return refuse(area, path, e);
    snprintf(l->name, sizeof(l->name), "%s", name);
    return 0;
}

/* Return: 0; -ENOENT when the root is not there; -EINVAL, -errno; with @e. */
static int locate(const struct target_area *area, const char *path, struct location *l,
                  struct error *e)
{
    const char *root = area->root != NULL ? area->root : "/";
    int r = cut(area, path, l, e);

    if (r < 0)
        return r;
    l->resolve = RESOLVE_NO_MAGICLINKS;
    if (area->root != NULL)
        l->resolve |= RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    l->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return l->root_fd >= 0 ? 0 : error_set_errno(e, negative_errno(), "cannot open %s", root);
}

static int open_below(int dir_fd, const char *path, uint64_t resolve)
{
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = resolve};
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

    return fd >= 0 ? (int)fd : negative_errno();
}

static int open_parent(const struct location *l)
{
    return open_below(l->root_fd, l->parent, l->resolve);
}

/* The target itself, or what is mounted on it. A link in its place is no directory. */
static int open_target(int parent_fd, const char *name)
{
    return open_below(parent_fd, name, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
}

/* ---- what is mounted there */

struct mounted {
    bool is_mounted;
    uint64_t id;
};

static int look(int fd, struct mounted *ret_mounted)
{
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) < 0)
        return negative_errno();
    *ret_mounted = (struct mounted){
        .is_mounted = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0,
        .id = status.stx_mnt_id,
    };
    return 0;
}

struct search {
    uint64_t id;
    bool is_ours;
};

static bool compare_mount(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;

    if (mount->id != search->id)
        return true;
    search->is_ours = streq(mount->fs_type, "fuse.secretfs");
    return false;
}

/* Of this program, though perhaps of another process of it. */
static bool is_ours(uint64_t mount_id)
{
    struct search search = {.id = mount_id};

    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", compare_mount, &search);
    return search.is_ours;
}

static int detach_top(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return umount2(path, MNT_DETACH) < 0 ? negative_errno() : 0;
}

/*
 * Detach mount after mount, until the directory itself is to be seen.
 * @only_ours: stop at a mount of something else
 * Return: 0, *ret_fd is the caller's; -EBUSY for such a mount; -errno.
 */
static int uncover(int parent_fd, const char *name, bool only_ours, int *ret_fd)
{
    for (unsigned n = 0; n < MOUNTS_ON_MAX; n++) {
        _cleanup_(fd_closep) int fd = open_target(parent_fd, name);
        struct mounted mounted;
        int r = fd >= 0 ? look(fd, &mounted) : fd;

        if (r < 0)
            return r;
        if (!mounted.is_mounted) {
            *ret_fd = TAKE_FD(fd);
            return 0;
        }
        if (only_ours && !is_ours(mounted.id))
            return -EBUSY;
        r = detach_top(fd);
        if (r < 0)
            return r;
    }
    return -EBUSY;
}

/* ---- what others call */

int target_check(const struct target_area *area, const char *path, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;

    return cut(area, path, &l, e);
}

int target_make(const struct target_area *area, const char *path, int *ret_fd, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = -1;
    int r = locate(area, path, &l, e);

    if (r < 0)
        return r;
    parent_fd = open_parent(&l);
    if (parent_fd == -ELOOP || parent_fd == -EXDEV)
        return error_set(e, -EINVAL, "there is a symbolic link on the way to the target %s", path);
    if (parent_fd < 0)
        return error_set_errno(e, parent_fd, "cannot open the directory of the target %s", path);
    if (mkdirat(parent_fd, l.name, TARGET_MODE) < 0 && errno != EEXIST)
        return error_set_errno(e, negative_errno(), "cannot make the target %s", path);
    r = uncover(parent_fd, l.name, true, ret_fd);
    if (r == -EBUSY)
        return error_set(e, r, "another file system is mounted on the target %s; unmount it", path);
    if (r == -ELOOP || r == -ENOTDIR)
        return error_set(e, -EINVAL, "the target %s is no directory", path);
    return r < 0 ? error_set_errno(e, r, "cannot use the target %s", path) : 0;
}

/* Return: a descriptor of the directory that the target is in; -errno. */
static int find_parent(const struct target_area *area, const char *path, struct location *l,
                       struct error *e)
{
    int r = locate(area, path, l, e);

    if (r < 0)
        return r;
    r = open_parent(l);
    return r >= 0 ? r : error_set_errno(e, r, "cannot open the directory of the target %s", path);
}

bool target_shows(const struct target_area *area, const char *path, uint64_t mount_id)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, NULL), fd = -1;
    struct mounted mounted;

    if (parent_fd < 0)
        return false;
    fd = open_target(parent_fd, l.name);
    return fd >= 0 && look(fd, &mounted) == 0 && mounted.is_mounted && mounted.id == mount_id;
}

bool target_is_gone(const struct target_area *area, const char *path)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, NULL);

    return parent_fd == -ENOENT;
}

int target_detach(const struct target_area *area, const char *path, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, e), fd = -1;
    int r;

    if (parent_fd < 0)
        return parent_fd == -ENOENT ? 0 : parent_fd;
    r = uncover(parent_fd, l.name, false, &fd);
    if (r == 0 || r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
        return 0; /* what is no directory has nothing mounted on it */
    return error_set_errno(e, r, "cannot unmount the target %s", path);
}

int target_remove(const struct target_area *area, const char *path, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, e);

    if (parent_fd < 0)
        return parent_fd == -ENOENT ? 0 : parent_fd;
    if (unlinkat(parent_fd, l.name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return error_set_errno(e, negative_errno(), "cannot remove the target %s", path);
}
