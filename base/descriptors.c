/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the process is killed while a worker has taken a request of the thread, the request is not
 * answered until the kernel ends the connection, which it does when the device is closed for good.
 * If the device were in the thread's table as well, it would stay open while the thread waits, that
 * is for ever.
 */
#include "base/descriptors.h"

#include <limits.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/standard_streams.h"

int descriptors_keep_own(const int *keep, size_t n)
{
    unsigned first = STDERR_FILENO + 1;

    if (unshare(CLONE_FILES) < 0)
        return negative_errno();
    standard_streams_release();
    for (size_t i = 0; i < n; i++) {
        assert(keep[i] >= (int)first);
        if ((unsigned)keep[i] > first)
            close_range(first, (unsigned)keep[i] - 1, 0);
        first = (unsigned)keep[i] + 1;
    }
    close_range(first, UINT_MAX, 0);
    return 0;
}

int descriptors_send(int socket_fd, const char *text, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS,
                            .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    do
        sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? negative_errno() : 0;
}
