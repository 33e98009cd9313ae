/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One message from a socket: received, checked, parsed, and what it says about descriptors done to
 * the store. The rest of the message is for the caller.
 */
#include "keeper/store.h"

/*
 * @senders: the processes whose messages count, ended by 0; NULL: any process that can send
 * @ret_requester_fd: of HANDOVER=1, which counts from any process of root or this user: the socket
 *                    beside it, the caller's; else -1. NULL: without effect, for a keeper
 *                    that has no command
 * Return: 0: *ret_message is what it said; -EAGAIN: no message waits; -ECONNRESET: the peer has
 * closed its connection; -EBADMSG: an invalid message, or one of another process, with a line in
 * the log; -errno of recvmsg(2).
 */
int keeper_intake(int socket, const pid_t *senders, struct keeper_store *store,
                  struct keeper_message *ret_message, int *ret_requester_fd);
