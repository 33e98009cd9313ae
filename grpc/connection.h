/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A client's connection: an nghttp2 session on a socket of the event loop. See connection.c.
 *
 * Thread: the event loop's.
 */
#include "grpc/call.h"

struct grpc_connection;

/* The connection has ended: free it. Not called from within grpc_connection_*() functions. */
typedef void grpc_connection_ended_fn(void *userdata, struct grpc_connection *connection);

/*
 * @common: borrowed, outlives the connection
 * @fd:     a connected socket that does not block; owned from the call on, on failure too
 * Return: 0, *ret_connection is the caller's; -ENOMEM; sd-event's errors.
 */
int grpc_connection_new(struct grpc_common *common, int fd_consumed,
                        grpc_connection_ended_fn *ended, void *userdata,
                        struct grpc_connection **ret_connection);
/* Sends what the socket accepts at once, and closes it. Calls are cancelled. Return: NULL. */
struct grpc_connection *grpc_connection_free(struct grpc_connection *connection);
DEFINE_CLEANUP(struct grpc_connection *, grpc_connection_free)

/* Since when it has no call; 0 while it has one. */
mono_us grpc_connection_idle_since(const struct grpc_connection *connection);
