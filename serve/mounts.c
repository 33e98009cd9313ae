/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mountinfo.h"

struct search {
    const char *path;          /* a mount point, or a path below one */
    const struct stat *status; /* of the path; NULL: compare it as text */
    struct mount_entry *entry;
    bool found;
};

static bool is_ours(const struct mountinfo *mount, uid_t *ret_owner)
{
    const char *owner = strstr(mount->super_options, "user_id=");

    *ret_owner = 0;
    return streq(mount->fs_type, "fuse.secretfs") &&
           (owner == NULL || sscanf(owner, "user_id=%u", ret_owner) == 1);
}

/* The last mount that matches is the one on top. */
static bool match_mount(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;
    bool matches = search->status != NULL ? mount->device == search->status->st_dev
                                          : streq(mount->mountpoint, search->path);
    uid_t owner;

    if (matches && is_ours(mount, &owner)) {
        *search->entry = (struct mount_entry){.device = mount->device, .owner = owner};
        search->found = true;
    }
    return true;
}

/* Return: whether it was found. */
static bool find(const char *path, const struct stat *status, struct mount_entry *ret_entry)
{
    struct search search = {.path = path, .status = status, .entry = ret_entry};

    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", match_mount, &search);
    return search.found;
}

int mounts_find(const char *path, struct mount_entry *ret_entry, struct error *e)
{
    _cleanup_(freep) char *absolute = NULL;
    struct stat status;

    if (stat(path, &status) == 0) {
        if (find(path, &status, ret_entry))
            return 0;
        return error_set(e, -ENOENT, "%s is not in a secretfs mount", path);
    }
    if (errno != ENOTCONN && errno != EACCES)
        return error_set_errno(e, negative_errno(), "cannot stat %s", path);
    /* dead, or another user's: the kernel does not resolve the path */
    absolute = *path == '/' ? strdup(path) : NULL;
    if (*path != '/') {
        _cleanup_(freep) char *cwd = getcwd(NULL, 0);

        if (cwd != NULL && asprintf(&absolute, "%s/%s", cwd, path) < 0)
            absolute = NULL;
    }
    if (absolute != NULL && find(absolute, NULL, ret_entry))
        return 0;
    return error_set(e, -ENOENT, "%s is not a secretfs mount", path);
}

bool mounts_is_mountpoint(const char *mountpoint)
{
    struct mount_entry entry;

    return find(mountpoint, NULL, &entry);
}

/* ---- by mount ID */

struct point_search {
    uint64_t id;
    char *mountpoint;
};

static bool match_id(void *userdata, const struct mountinfo *mount)
{
    struct point_search *search = userdata;
    uid_t owner;

    if (mount->id != search->id)
        return true;
    if (is_ours(mount, &owner))
        search->mountpoint = strdup(mount->mountpoint);
    return false;
}

bool mounts_point_of(const char *path, char **ret_mountpoint)
{
    struct point_search search = {0};
    struct statx status;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) < 0 ||
        (status.stx_mask & STATX_MNT_ID) == 0)
        return false;
    search.id = status.stx_mnt_id;
    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", match_id, &search);
    if (search.mountpoint == NULL)
        return false;
    *ret_mountpoint = search.mountpoint;
    return true;
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
