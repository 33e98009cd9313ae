/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/inotify_events.h"

#include <sys/stat.h>

#include "base/cleanup.h"

void inotify_raise_modify(int fd_consumed)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0 || ftruncate(fd, status.st_size) < 0)
        return; /* it is gone: its watchers got DELETE_SELF */
}
