/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A client's connection: an nghttp2 session on a socket of the event loop. See grpc_connection.c.
 */
#include "grpc/call.h"

struct grpc_connection;

/* How a connection tells its server that it wants to be freed; not from within its own functions.
 */
typedef void grpc_connection_over_fn(void *userdata, struct grpc_connection *connection);

/*
 * @common: borrowed, outlives the connection
 * @fd:     a connected socket that does not block; owned from the call on, on failure too
 * Return: 0, *ret_connection is the caller's; -ENOMEM; sd-event's errors.
 */
int grpc_connection_new(struct grpc_common *common, int fd_consumed, grpc_connection_over_fn *over,
                        void *userdata, struct grpc_connection **ret_connection);
/* Sends what can be sent at once, and closes. Calls are cancelled. Return: NULL. */
struct grpc_connection *grpc_connection_free(struct grpc_connection *connection);
DEFINE_CLEANUP(struct grpc_connection *, grpc_connection_free)

/* When it was last without a call; 0 while it has one. */
mono_us grpc_connection_idle_since(const struct grpc_connection *connection);

/* ---- for calls */

nghttp2_session *grpc_connection_session(struct grpc_connection *connection);
/* There is something to send. */
void grpc_connection_wake(struct grpc_connection *connection);
/* Nothing can be done with this client any more; it is over in the next turn of the loop. */
void grpc_connection_break(struct grpc_connection *connection);
