/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/mount_watch.h"

#include <fcntl.h>

#include "base/cleanup.h"

#define MOUNTINFO "/proc/thread-self/mountinfo"

int mount_watch_open(void)
{
    int fd = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);

    return fd >= 0 ? fd : negative_errno();
}

int mount_watch_add(sd_event *event, sd_event_io_handler_t on_changed, void *userdata,
                    sd_event_source **ret_source, struct error *e)
{
    _cleanup_(fd_closep) int fd = mount_watch_open();
    int r = fd;

    if (r >= 0)
        r = sd_event_add_io(event, ret_source, fd, POLLPRI, on_changed, userdata);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch " MOUNTINFO);
    r = sd_event_source_set_io_fd_own(*ret_source, true);
    assert(r >= 0);
    (void)TAKE_FD(fd);
    return 0;
}

int mount_watch_visit(mountinfo_visit_fn *visit, void *userdata)
{
    return mountinfo_visit(AT_FDCWD, MOUNTINFO, visit, userdata);
}

struct search {
    uint64_t id;
    dev_t device;
    bool is_found;
};

static bool compare_mount(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;

    search->is_found = mount->id == search->id && mount->device == search->device;
    return !search->is_found;
}

bool mount_watch_exists(uint64_t mount_id, dev_t device)
{
    struct search search = {.id = mount_id, .device = device};
    int r = mount_watch_visit(compare_mount, &search);

    return r < 0 ||
           search.is_found; /* better to serve on than to end because descriptors are short */
}
