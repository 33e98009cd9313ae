/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/local_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

int local_socket_address(const char *path, struct sockaddr_un *ret_address, struct error *e)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret_address->sun_path))
        return error_set(e, -ENAMETOOLONG, "the path %.200s is too long for a socket", path);
    memcpy(ret_address->sun_path, path, strlen(path) + 1);
    return 0;
}

int local_socket_listen(const struct sockaddr_un *address, int backlog, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return negative_errno();
    unlink(address->sun_path);
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
        chmod(address->sun_path, 0600) < 0 || listen(fd, backlog) < 0)
        return negative_errno();
    *ret_fd = TAKE_FD(fd);
    return 0;
}
