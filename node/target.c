/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet creates the parent directory of a target, but not the target (S6), and keeps
 * vol_data.json beside it (S7). Only the target itself is created and removed here.
 *
 * Paths come from the kubelet and lead below directories that pods own. So each is resolved once,
 * by openat2(2) from the kubelet's root, without symbolic links and "..". All further operations
 * use the descriptor, not the path.
 *
 * Static volumes are mounted anywhere, so their paths are checked while they are resolved
 * (safe_path.c).
 *
 * An O_PATH descriptor and statx(2) with AT_STATX_DONT_SYNC send no request to a file system: a
 * dead mount cannot block or fail here (S11), and our own mount cannot make the event loop wait for
 * our own threads.
 *
 * A mount of ours on a target, dead or not, stays until the new one is mounted beneath it, and is
 * detached lazily then (mount_view_bind()): at no time does a reader find the empty directory. A
 * mount of another file system is left alone, except by target_detach(), which unpublishes.
 */
#include "node/target.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/mountinfo.h"
#include "base/privileged.h"
#include "node/safe_path.h"

#define TARGET_MODE   0750 /* the kubelet's mode for the parent directory */
#define MOUNTS_ON_MAX 64   /* stacked on one target; each start of a daemon may add one */

/* ---- from a path to descriptors */

/* A path split at its last slash, and how to resolve it. */
struct location {
    int root_fd;
    char parent[PATH_MAX]; /* relative to the root */
    char name[NAME_MAX + 1];
    const char *checked_path; /* without a root: the whole path, for safe_path.c; else NULL */
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
        return error_set(e, -EINVAL, "invalid target %.256s: expected an absolute path", path);
    return error_set(e, -EINVAL, "the target %.256s is not below %s; check --kubelet-root", path,
                     area->root);
}

/* Return: the path relative to the root; NULL if it is not below the root. */
static const char *below_root(const struct target_area *area, const char *path)
{
    const char *rest = area->root != NULL ? str_after(path, area->root) : path;

    if (rest == NULL || *rest != '/')
        return NULL;
    return rest + strspn(rest, "/");
}

/* Return: 0; -EINVAL with @e. */
static int split(const struct target_area *area, const char *path, struct location *l,
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
    assert(l->parent[0] != '/' && strchr(l->name, '/') == NULL);
    return 0;
}

/* Return: 0; -ENOENT when the root does not exist; -EINVAL, -errno; with @e. */
static int locate(const struct target_area *area, const char *path, struct location *l,
                  struct error *e)
{
    int r = split(area, path, l, e);

    if (r < 0)
        return r;
    if (area->root == NULL) {
        l->checked_path = path;
        return 0;
    }
    l->root_fd = open(area->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return l->root_fd >= 0 ? 0 : error_set_errno(e, negative_errno(), "cannot open %s", area->root);
}

static int open_below(int dir_fd, const char *path)
{
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                 .resolve =
                                     RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

    return fd >= 0 ? (int)fd : negative_errno();
}

/* Return: a descriptor; -EPERM with @e; -errno. */
static int open_parent(const struct location *l, struct error *e)
{
    const char *name;

    return l->checked_path != NULL ? safe_path_open_parent(l->checked_path, &name, e)
                                   : open_below(l->root_fd, l->parent);
}

/* The target, or the mount on it. Return: a descriptor; -ENOTDIR or -ELOOP for a link. */
static int open_target(int parent_fd, const char *name)
{
    return open_below(parent_fd, name);
}

/* ---- mounts on a target */

struct mounted {
    bool is_mounted;
    uint64_t id;
    dev_t device;  /* as what follows, of what is visible there */
    uint64_t node; /* as the kernel knows it, without a request */
};

static int query_mount(int fd, struct mounted *ret_mounted)
{
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID | STATX_INO, &status) < 0)
        return negative_errno();
    *ret_mounted = (struct mounted){
        .is_mounted = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0,
        .id = status.stx_mnt_id,
        .device = makedev(status.stx_dev_major, status.stx_dev_minor),
        .node = status.stx_ino,
    };
    return 0;
}

struct search {
    uint64_t id;
    uint64_t parent_id;
    bool is_ours; /* a mount of secretfs, of this process or another */
    char mountpoint[PATH_MAX];
};

static bool compare_mount(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;

    if (mount->id != search->id)
        return true;
    search->parent_id = mount->parent_id;
    search->is_ours = streq(mount->fs_type, "fuse.secretfs");
    snprintf(search->mountpoint, sizeof(search->mountpoint), "%s", mount->mountpoint);
    return false;
}

static struct search find_mount(uint64_t id)
{
    struct search search = {.id = id};

    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", compare_mount, &search);
    return search;
}

/* Whether it is mounted on top of another mount of ours, on the same target. */
static bool covers_ours(const struct search *mount)
{
    struct search below = find_mount(mount->parent_id);

    return below.is_ours && streq(below.mountpoint, mount->mountpoint);
}

static int detach_top(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return umount2(path, MNT_DETACH) < 0 ? negative_errno() : 0;
}

/*
 * Detach mounts of a directory.
 * Return: 0, *ret_fd is the directory, or the root of the mount that stays, and the caller's;
 * -EBUSY for a mount that is not ours, except with UNCOVER_ALL; -errno.
 */
enum uncover {
    UNCOVER_ALL,
    UNCOVER_OURS,
    UNCOVER_TO_REPLACE, /* the lowest one of ours stays */
};

static int uncover(int parent_fd, const char *name, enum uncover which, int *ret_fd)
{
    for (unsigned n = 0; n < MOUNTS_ON_MAX; n++) {
        _cleanup_(fd_closep) int fd = open_target(parent_fd, name);
        struct mounted mounted;
        bool is_end = false;
        int r = fd >= 0 ? query_mount(fd, &mounted) : fd;

        if (r < 0)
            return r;
        if (which != UNCOVER_ALL && mounted.is_mounted) {
            struct search mount = find_mount(mounted.id);

            if (!mount.is_ours)
                return -EBUSY;
            is_end = which == UNCOVER_TO_REPLACE && !covers_ours(&mount);
        }
        if (is_end || !mounted.is_mounted) {
            *ret_fd = TAKE_FD(fd);
            return 0;
        }
        r = detach_top(fd);
        if (r < 0)
            return r;
    }
    return -EBUSY;
}

/* ---- what is done to a target */

static int make(const struct target_area *area, const char *path, int *ret_fd, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = -1;
    int r = locate(area, path, &l, e);

    if (r < 0)
        return r;
    parent_fd = open_parent(&l, e);
    if (parent_fd == -EPERM && area->root == NULL)
        return parent_fd;
    if (parent_fd == -ELOOP || parent_fd == -EXDEV)
        return error_set(e, -EINVAL, "the path of the target %s contains a symbolic link", path);
    if (parent_fd < 0)
        return error_set_errno(e, parent_fd, "cannot open the parent directory of the target %s",
                               path);
    if (mkdirat(parent_fd, l.name, TARGET_MODE) < 0 && errno != EEXIST)
        return error_set_errno(e, negative_errno(), "cannot create the target %s", path);
    r = uncover(parent_fd, l.name, UNCOVER_TO_REPLACE, ret_fd);
    if (r == -EBUSY)
        return error_set(e, r, "another file system is mounted on the target %s; unmount it", path);
    if (r == -ELOOP || r == -ENOTDIR)
        return error_set(e, -EINVAL, "the target %s is not a directory", path);
    return r < 0 ? error_set_errno(e, r, "cannot use the target %s", path) : 0;
}

/* Return: a descriptor of the parent directory; -errno. */
static int find_parent(const struct target_area *area, const char *path, struct location *l,
                       struct error *e)
{
    int r = locate(area, path, l, e);

    if (r < 0)
        return r;
    r = open_parent(l, e);
    if (r == -EPERM && area->root == NULL)
        return r;
    return r >= 0
               ? r
               : error_set_errno(e, r, "cannot open the parent directory of the target %s", path);
}

/* Return: whether a mount is on the target. */
static bool find_top(const struct target_area *area, const char *path, struct mounted *ret_mounted)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, NULL), fd = -1;

    if (parent_fd < 0)
        return false;
    fd = open_target(parent_fd, l.name);
    return fd >= 0 && query_mount(fd, ret_mounted) == 0 && ret_mounted->is_mounted;
}

static bool is_gone(const struct target_area *area, const char *path)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, NULL);

    return parent_fd == -ENOENT;
}

static int detach(const struct target_area *area, const char *path, enum uncover which,
                  struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, e), fd = -1;
    int r;

    if (parent_fd < 0)
        return parent_fd == -ENOENT ? 0 : parent_fd;
    r = uncover(parent_fd, l.name, which, &fd);
    if (r == 0 || r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
        return 0; /* there cannot be a mount */
    return error_set_errno(e, r, "cannot unmount the target %s", path);
}

static int remove_directory(const struct target_area *area, const char *path, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;
    _cleanup_(fd_closep) int parent_fd = find_parent(area, path, &l, e);

    if (parent_fd < 0)
        return parent_fd == -ENOENT ? 0 : parent_fd;
    if (unlinkat(parent_fd, l.name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return error_set_errno(e, negative_errno(), "cannot remove the target %s", path);
}

/* ---- the interface: the privileged thread works on targets, which may belong to any user */

struct target_call {
    const struct target_area *area;
    const char *path;
    struct error *e;
    int *ret_fd;                 /* of make() */
    enum uncover which;          /* of detach() */
    struct mounted *ret_mounted; /* of find_top() */
};

static int run_make(void *arguments)
{
    const struct target_call *c = arguments;

    return make(c->area, c->path, c->ret_fd, c->e);
}

static int run_find_top(void *arguments)
{
    const struct target_call *c = arguments;

    return find_top(c->area, c->path, c->ret_mounted);
}

static int run_is_gone(void *arguments)
{
    const struct target_call *c = arguments;

    return is_gone(c->area, c->path);
}

static int run_detach(void *arguments)
{
    const struct target_call *c = arguments;

    return detach(c->area, c->path, c->which, c->e);
}

static int run_remove(void *arguments)
{
    const struct target_call *c = arguments;

    return remove_directory(c->area, c->path, c->e);
}

int target_check(const struct target_area *area, const char *path, struct error *e)
{
    _cleanup_(location_deinit) struct location l = LOCATION_INIT;

    return split(area, path, &l, e);
}

int target_make(const struct target_area *area, const char *path, int *ret_fd, struct error *e)
{
    struct target_call c = {.area = area, .path = path, .ret_fd = ret_fd, .e = e};

    return privileged_call(run_make, &c);
}

/* Return: whether a mount is on the target. */
static bool query_top(const struct target_area *area, const char *path, struct mounted *ret_mounted)
{
    struct target_call c = {.area = area, .path = path, .ret_mounted = ret_mounted};

    return privileged_call(run_find_top, &c) != 0;
}

bool target_shows(const struct target_area *area, const char *path, uint64_t mount_id)
{
    struct mounted mounted;

    return query_top(area, path, &mounted) && mounted.id == mount_id;
}

bool target_find_mount(const struct target_area *area, const char *path, dev_t device,
                       uint64_t node, uint64_t *ret_mount_id)
{
    struct mounted mounted;

    if (!query_top(area, path, &mounted) || mounted.device != device || mounted.node != node)
        return false;
    *ret_mount_id = mounted.id;
    return true;
}

bool target_is_gone(const struct target_area *area, const char *path)
{
    struct target_call c = {.area = area, .path = path};

    return privileged_call(run_is_gone, &c) != 0;
}

int target_detach(const struct target_area *area, const char *path, struct error *e)
{
    struct target_call c = {.area = area, .path = path, .which = UNCOVER_ALL, .e = e};

    return privileged_call(run_detach, &c);
}

int target_detach_ours(const struct target_area *area, const char *path, struct error *e)
{
    struct target_call c = {.area = area, .path = path, .which = UNCOVER_OURS, .e = e};

    return privileged_call(run_detach, &c);
}

int target_remove(const struct target_area *area, const char *path, struct error *e)
{
    struct target_call c = {.area = area, .path = path, .e = e};

    return privileged_call(run_remove, &c);
}
