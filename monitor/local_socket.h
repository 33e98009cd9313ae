/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* UNIX sockets of a daemon for clients of its own user. */
#include <sys/un.h>

#include "base/error.h"

/* Return: 0; -ENAMETOOLONG with @e. */
int local_socket_address(const char *path, struct sockaddr_un *ret_address, struct error *e);

/*
 * Listen, and remove what is at the path: no other process may use its directory. The socket is its
 * owner's alone.
 * Return: 0, *ret_fd is the caller's; -errno.
 */
int local_socket_listen(const struct sockaddr_un *address, int backlog, int *ret_fd) MUST_CHECK;
