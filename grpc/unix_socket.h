/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A UNIX socket that listens at a path. See unix_socket.c. */
#include <sys/types.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/kept_socket.h"

struct unix_socket {
    int fd; /* -1: none; does not block */
    struct sockaddr_un address;
    struct stat file; /* its device and inode, to recognize it */
};

/*
 * Listen at @path, absolute. Missing directories are created.
 * @backlog: as for listen(2)
 * Return: 0; -EINVAL for a path that a socket cannot have; -EADDRINUSE if another process listens
 * there; -EEXIST if the path is not a socket; the system's errors; all with @e.
 */
int unix_socket_listen(const char *path, int backlog, struct unix_socket *ret_socket,
                       struct error *e);

/*
 * Listen with the socket that an earlier process has left at @path.
 * @keep: NULL is fine
 * Return: 0; -ENOENT: there is none, or the path does not lead to it any more; -EINVAL as above.
 */
int unix_socket_take_over(const struct kept_socket *keep, const char *path, int backlog,
                          struct unix_socket *ret_socket);

/* Have the next process take it over. */
void unix_socket_keep(const struct unix_socket *s, const struct kept_socket *keep);

/* Whether the path still leads to this socket. */
bool unix_socket_is_in_place(const struct unix_socket *s);

/* Stop listening, and remove the file if it is still this socket's. */
void unix_socket_close(struct unix_socket *s);
/* Leave the file to the next process. */
void unix_socket_leave(struct unix_socket *s);
