/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A gRPC server on a UNIX socket. See server.c.
 *
 * Thread: the event loop's.
 */
#include "base/kept_socket.h"
#include "grpc/call.h"

struct grpc_server;

struct grpc_server_options {
    const char *path;               /* of the socket, absolute; borrowed, outlives the server */
    const struct kept_socket *keep; /* the same; NULL: the socket ends with the process */
    const struct grpc_method *methods;
    size_t n_methods;
    const struct grpc_limits *limits; /* copied; NULL: grpc_limits_default */
    /* as in struct grpc_common */
    void (*answered)(void *userdata, const char *method, enum grpc_code code, span_us took);
};

/*
 * @userdata: passed to the methods and to `answered`
 * Return: 0, *ret_server is the caller's and accepts connections; -ENOMEM; listener_new()'s errors;
 * all with @e.
 */
int grpc_server_new(sd_event *event, const struct grpc_server_options *options, void *userdata,
                    struct grpc_server **ret_server, struct error *e);
/*
 * Removes the socket unless the next process takes it over, closes the connections, cancels the
 * calls; not within a method. Return: NULL.
 */
struct grpc_server *grpc_server_free(struct grpc_server *server);
DEFINE_CLEANUP(struct grpc_server *, grpc_server_free)

/* As listener_has_taken_over() and listener_keep(). */
bool grpc_server_has_taken_over(const struct grpc_server *server);
void grpc_server_keep(const struct grpc_server *server);
