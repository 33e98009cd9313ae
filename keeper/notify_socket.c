/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/notify_socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"

/* Root's own first; a container may have none but /tmp that is writable. */
static int make_directory(struct keeper_notify_socket *s)
{
    const char *const parents[] = {"/run", getenv("XDG_RUNTIME_DIR"), "/tmp"};

    for (size_t i = 0; i < ELEMENTS_OF(parents); i++)
        if (parents[i] != NULL)
            keeper_directory_remove_abandoned(parents[i]);
    s->directory_fd = keeper_directory_make(parents, ELEMENTS_OF(parents), s->directory);
    return s->directory_fd < 0 ? s->directory_fd : 0;
}

int keeper_notify_socket_init(struct keeper_notify_socket *s, struct error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int on = 1;
    int r = make_directory(s);

    s->fd = -1;
    s->path[0] = '\0';
    if (r < 0)
        return error_set_errno(e, r,
                               "cannot make a directory for the notification socket in /run, "
                               "$XDG_RUNTIME_DIR or /tmp");
    snprintf(s->path, sizeof(s->path), "%s/" KEEPER_SOCKET_NAME, s->directory);
    memcpy(address.sun_path, s->path, sizeof(s->path));
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
        bind(s->fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        r = error_set_errno(e, negative_errno(), "cannot listen at \"%s\"", s->path);
        keeper_notify_socket_deinit(s);
        return r;
    }
    return 0;
}

void keeper_notify_socket_deinit(struct keeper_notify_socket *s)
{
    s->fd = fd_close(s->fd);
    if (s->path[0] != '\0')
        unlink(s->path);
    if (s->directory[0] != '\0')
        rmdir(s->directory);
    s->directory_fd = fd_close(s->directory_fd);
}
