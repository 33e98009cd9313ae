/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of a mount may be stopped or hang, and a request to it would make the caller wait
 * without a limit. So a path is resolved name by name, with O_PATH descriptors and
 * AT_STATX_DONT_SYNC, and no further than the first secretfs mount on its way: the root of a mount
 * is reached without a request, what is below it is not. For the same reason a dead mount, or one
 * of another user, is found like any other.
 */
#include "serve/mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mountinfo.h"
#include "base/privileged.h"
#include "base/unmount.h"
#include "cache/object.h"

#define LINKS_MAX 40 /* the kernel's own limit of symbolic links in a path */

static bool is_ours(const struct mountinfo *mount, uid_t *ret_owner)
{
    const char *owner = strstr(mount->super_options, "user_id=");

    *ret_owner = 0;
    return streq(mount->fs_type, "fuse.secretfs") &&
           (owner == NULL || sscanf(owner, "user_id=%u", ret_owner) == 1);
}

/* ---- by mount ID */

struct search {
    uint64_t id;
    struct mount_entry *entry;
    char **mountpoint; /* NULL: not requested */
    bool found;
};

static bool match_id(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;
    uid_t owner;

    if (mount->id != search->id)
        return true;
    if (is_ours(mount, &owner)) {
        search->entry->device = mount->device;
        search->entry->owner = owner;
        search->found = true;
        if (search->mountpoint != NULL)
            *search->mountpoint = strdup(mount->mountpoint);
    }
    return false;
}

static bool find_id(uint64_t id, struct mount_entry *ret_entry, char **ret_mountpoint)
{
    struct search search = {.id = id, .entry = ret_entry, .mountpoint = ret_mountpoint};

    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", match_id, &search);
    return search.found;
}

/* ---- by path */

/* A path that is resolved name by name. */
struct walk {
    int fd;              /* O_PATH: what has been resolved so far */
    char rest[PATH_MAX]; /* what has not */
    uint64_t mount_id;   /* of fd */
    bool is_link;        /* fd is a symbolic link */
    unsigned n_links;
};

static void walk_deinit(struct walk *w)
{
    w->fd = fd_close(w->fd);
}

/* Continue at another descriptor. Neither flag sends a request to a file system. */
static int walk_to(struct walk *w, int fd)
{
    struct statx status;

    if (fd < 0)
        return negative_errno();
    fd_close(w->fd);
    w->fd = fd;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) < 0)
        return negative_errno();
    w->mount_id = status.stx_mnt_id;
    w->is_link = S_ISLNK(status.stx_mode);
    return 0;
}

/* Put the target of the link before the rest. @dir_fd: the directory of the link */
static int walk_link(struct walk *w, int dir_fd)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlinkat(w->fd, "", target, sizeof(target) - 1);
    int len;

    if (n < 0)
        return negative_errno();
    if (++w->n_links > LINKS_MAX)
        return -ELOOP;
    target[n] = '\0';
    len = snprintf(rest, sizeof(rest), "%s/%s", target, w->rest);
    if (len < 0 || (size_t)len >= sizeof(rest))
        return -ENAMETOOLONG;
    memcpy(w->rest, rest, (size_t)len + 1);
    return walk_to(w, target[0] == '/' ? open("/", O_PATH | O_CLOEXEC)
                                       : fcntl(dir_fd, F_DUPFD_CLOEXEC, 0));
}

/* Resolve the next name. The directory is in no secretfs mount. */
static int walk_name(struct walk *w)
{
    _cleanup_(fd_closep) int dir_fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
    const char *name = w->rest + strspn(w->rest, "/");
    size_t len = strcspn(name, "/");
    bool is_last = name[len] == '\0';
    char one[NAME_MAX + 1];
    int fd, r;

    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(one, name, len);
    one[len] = '\0';
    memmove(w->rest, name + len, strlen(name + len) + 1);
    /* O_DIRECTORY has an automount mounted, as resolving the whole path would */
    fd = openat(w->fd, one, O_PATH | O_NOFOLLOW | O_CLOEXEC | (is_last ? 0 : O_DIRECTORY));
    if (fd < 0 && errno == ENOTDIR && !is_last)
        fd = openat(w->fd, one, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    r = walk_to(w, fd);
    return r == 0 && w->is_link ? walk_link(w, dir_fd) : r;
}

static bool is_at_end(const struct walk *w)
{
    return w->rest[strspn(w->rest, "/")] == '\0';
}

/* Return: 0; NOT_OURS if the path leads into no secretfs mount; -errno. */
#define NOT_OURS 1
static int find(const char *path, struct mount_entry *ret_entry, char **ret_mountpoint)
{
    _cleanup_(walk_deinit) struct walk w = {.fd = -1};
    uint64_t known_id; /* of a mount that is not ours */
    int n = snprintf(w.rest, sizeof(w.rest), "%s", path);
    int r = n < 0 || (size_t)n >= sizeof(w.rest) ? -ENAMETOOLONG : 0;

    if (r == 0)
        r = walk_to(&w, open(path[0] == '/' ? "/" : ".", O_PATH | O_CLOEXEC));
    known_id = w.mount_id + 1;
    while (r == 0) {
        if (w.mount_id != known_id && find_id(w.mount_id, ret_entry, ret_mountpoint)) {
            ret_entry->is_below = !is_at_end(&w);
            return 0;
        }
        if (is_at_end(&w))
            return NOT_OURS;
        known_id = w.mount_id;
        r = walk_name(&w);
    }
    return r;
}

int mounts_find(const char *path, struct mount_entry *ret_entry, struct error *e)
{
    int r = find(path, ret_entry, NULL);
    enum object_kind kind;

    if (r == NOT_OURS)
        return error_set(e, -ENOENT, "%s is not in a secretfs mount", path);
    if (r == -ENOENT && object_kind_parse(path, &kind) != NULL)
        return error_set(
            e, r,
            "%.253s is not a path; `secretfs status --object %.253s` lists the volumes "
            "that show that object",
            path, path);
    return r < 0 ? error_set_errno(e, r, "cannot resolve %s", path) : 0;
}

bool mounts_point_of(const char *path, char **ret_mountpoint)
{
    struct mount_entry entry;
    char *mountpoint = NULL;

    if (find(path, &entry, &mountpoint) != 0 || mountpoint == NULL)
        return false;
    *ret_mountpoint = mountpoint;
    return true;
}

/* ---- by mount point */

struct point_search {
    const char *mountpoint;
    uint64_t id; /* of the last one, which is on top */
    bool found;
};

static bool match_mountpoint(void *userdata, const struct mountinfo *mount)
{
    struct point_search *search = userdata;
    uid_t owner;

    if (streq(mount->mountpoint, search->mountpoint) && is_ours(mount, &owner)) {
        search->found = true;
        search->id = mount->id;
    }
    return true;
}

static struct point_search find_mountpoint(const char *mountpoint)
{
    struct point_search search = {.mountpoint = mountpoint};

    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", match_mountpoint, &search);
    return search;
}

bool mounts_is_mountpoint(const char *mountpoint)
{
    return find_mountpoint(mountpoint).found;
}

static int run_detach(void *arguments)
{
    const struct point_search *search = arguments;

    return search->found ? unmount_id(search->id) : -ENOENT;
}

int mounts_detach(const char *mountpoint)
{
    struct point_search search = find_mountpoint(mountpoint);

    return privileged_call(run_detach, &search);
}

/* ---- all mounts */

struct visit {
    mounts_visit_fn *visit;
    void *userdata;
};

static bool visit_ours(void *userdata, const struct mountinfo *mount)
{
    struct visit *visit = userdata;
    struct mount_entry entry = {.device = mount->device};

    return !is_ours(mount, &entry.owner) ||
           visit->visit(visit->userdata, mount->mountpoint, &entry);
}

int mounts_visit(mounts_visit_fn *visit, void *userdata, struct error *e)
{
    struct visit all = {.visit = visit, .userdata = userdata};
    int r = mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", visit_ours, &all);

    return r < 0 ? error_set_errno(e, r, "cannot read /proc/self/mountinfo") : 0;
}
