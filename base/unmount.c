/* SPDX-License-Identifier: Apache-2.0 */
#include "base/unmount.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mountinfo.h"

struct search {
    uint64_t id;
    char *mountpoint;
    bool is_found;
};

static bool match(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;

    if (mount->id != search->id)
        return true;
    search->is_found = true;
    search->mountpoint = strdup(mount->mountpoint);
    return false;
}

/* Return: the path, which is the caller's; NULL with *ret_error. */
static char *find(uint64_t id, int *ret_error)
{
    struct search search = {.id = id};
    int r = mountinfo_visit(AT_FDCWD, "/proc/thread-self/mountinfo", match, &search);

    *ret_error = r < 0 ? r : search.is_found ? -ENOMEM : -ENOENT;
    return search.mountpoint;
}

/* Neither flag sends a request to the file system that is mounted there. */
static bool leads_to(int fd, uint64_t id)
{
    struct statx status;

    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) == 0 &&
           status.stx_mnt_id == id && (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

int unmount_id(uint64_t id)
{
    _cleanup_(fd_closep) int fd = -1;
    _cleanup_(freep) char *mountpoint = NULL;
    char own_path[40];
    int r;

    mountpoint = find(id, &r);
    if (mountpoint == NULL)
        return r;
    fd = open(mountpoint, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return negative_errno();
    if (!leads_to(fd, id))
        return -EBUSY;
    snprintf(own_path, sizeof(own_path), "/proc/thread-self/fd/%d", fd);
    return umount2(own_path, MNT_DETACH) < 0 ? negative_errno() : 0;
}
