/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The socket at which the child finds its service manager, in a directory that only this user can
 * enter: other users can neither send to it nor fill its queue.
 */
#include "base/error.h"
#include "keeper/directory.h"

struct keeper_notify_socket {
    int fd;
    int directory_fd; /* it is in use as long as this is open */
    char directory[KEEPER_DIRECTORY_SIZE];
    char path[KEEPER_DIRECTORY_SIZE + sizeof("/" KEEPER_SOCKET_NAME)];
};

/* Also removes what keepers have left that were killed. Return: 0; -errno with @e. */
int keeper_notify_socket_init(struct keeper_notify_socket *s, struct error *e);
void keeper_notify_socket_deinit(struct keeper_notify_socket *s);
