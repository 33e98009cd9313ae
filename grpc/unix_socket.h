/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A UNIX socket that listens at a path. See unix_socket.c. */
#include <sys/types.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/error.h"

struct unix_socket {
    int fd; /* -1: none; does not block */
    struct sockaddr_un address;
    dev_t device; /* of the file, to recognize it */
    ino_t inode;
};

/*
 * Listen at @path, absolute. Missing directories are created.
 * @backlog: as for listen(2)
 * Return: 0; -EINVAL for a path that a socket cannot have; -EADDRINUSE if another process listens
 * there; -EEXIST if the path is not a socket; the system's errors; all with @e.
 */
int unix_socket_listen(const char *path, int backlog, struct unix_socket *ret_socket,
                       struct error *e);

/* Whether the path still leads to this socket. */
bool unix_socket_is_in_place(const struct unix_socket *s);

/* Stop listening, and remove the file if it is still this socket's. */
void unix_socket_close(struct unix_socket *s);
