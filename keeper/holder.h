/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Keeps descriptors for clients behind a Unix socket (SOCK_SEQPACKET), without a child. One client
 * is served at a time; it is root or this user. The protocol: handover/fd_store.c.
 */
#include "base/error.h"

/*
 * Until SIGTERM or SIGINT.
 * @path:    of the socket, which is made with mode 0600, also in place of a dead keeper's
 * @fds_max: 1 to KEEPER_FDS_MAX
 * Return: the exit status for the keeper: 0; 1 with @e.
 */
int keeper_hold(const char *path, size_t fds_max, struct error *e);
