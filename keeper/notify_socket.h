/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The socket at which the child finds its service manager, in a directory that only this user can
 * enter: other users can neither send to it nor fill its queue.
 */
#include "base/error.h"

struct keeper_notify_socket {
    int fd;
    char directory[64];
    char path[80];
};

/* Return: 0; -errno with @e. */
int keeper_notify_socket_init(struct keeper_notify_socket *s, struct error *e);
void keeper_notify_socket_deinit(struct keeper_notify_socket *s);
