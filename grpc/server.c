/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server accepts connections up to a limit, which is half of the process's descriptors at most.
 * At the limit it closes the connection that has been idle for longest. If all of them have calls
 * it closes the new one, which its client sees as UNAVAILABLE and tries again (T1).
 */
#include "grpc/server.h"

#include <sys/resource.h>

#include "base/log.h"
#include "grpc/connection.h"
#include "grpc/listener.h"

struct grpc_server {
    struct grpc_common common;
    struct listener *listener;
    struct grpc_connection **connections;
    size_t n_connections;
};

/* ---- connections */

static void drop(struct grpc_server *server, size_t i)
{
    struct grpc_connection *connection = server->connections[i];

    server->connections[i] = server->connections[--server->n_connections];
    grpc_connection_free(connection);
}

static void on_ended(void *userdata, struct grpc_connection *connection)
{
    struct grpc_server *server = userdata;

    for (size_t i = 0; i < server->n_connections; i++)
        if (server->connections[i] == connection) {
            drop(server, i);
            return;
        }
    assert(false);
}

/* Return: whether one more connection is within the limit now. */
static bool make_room(struct grpc_server *server)
{
    size_t oldest = SIZE_MAX;
    mono_us oldest_since = UINT64_MAX;

    assert(server->n_connections <= server->common.limits.connections);
    if (server->n_connections < server->common.limits.connections)
        return true;
    for (size_t i = 0; i < server->n_connections; i++) {
        mono_us since = grpc_connection_idle_since(server->connections[i]);

        if (since != 0 && since < oldest_since) {
            oldest = i;
            oldest_since = since;
        }
    }
    if (oldest == SIZE_MAX)
        return false;
    drop(server, oldest);
    return true;
}

static void on_connected(void *userdata, int fd_consumed)
{
    struct grpc_server *server = userdata;
    struct grpc_connection *connection = NULL;
    int r;

    if (!make_room(server)) {
        fd_close(fd_consumed);
        log_debug("closed a new gRPC connection: too many have calls");
        return;
    }
    r = grpc_connection_new(&server->common, fd_consumed, on_ended, server, &connection);
    if (r < 0)
        log_debug("cannot accept a gRPC connection", "error", strerror(-r));
    else
        server->connections[server->n_connections++] = connection;
}

/* ---- the server */

static void limit_connections(struct grpc_limits *limits)
{
    struct rlimit descriptors;

    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 &&
        limits->connections > descriptors.rlim_cur / 2)
        limits->connections = (unsigned)(descriptors.rlim_cur / 2);
}

int grpc_server_new(sd_event *event, const struct grpc_server_options *options, void *userdata,
                    struct grpc_server **ret_server, struct error *e)
{
    _cleanup_(grpc_server_freep) struct grpc_server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL)
        return error_set_errno(e, -ENOMEM, "cannot serve %s", options->path);
    server->common = (struct grpc_common){
        .event = event,
        .methods = options->methods,
        .n_methods = options->n_methods,
        .userdata = userdata,
        .answered = options->answered,
        .limits = options->limits != NULL ? *options->limits : grpc_limits_default,
    };
    limit_connections(&server->common.limits);
    server->connections =
        calloc(server->common.limits.connections, sizeof(struct grpc_connection *));
    if (server->connections == NULL)
        return error_set_errno(e, -ENOMEM, "cannot serve %s", options->path);
    r = listener_new(event, options->path, options->keep, on_connected, server, &server->listener,
                     e);
    if (r == 0)
        *ret_server = TAKE(server);
    return r;
}

struct grpc_server *grpc_server_free(struct grpc_server *server)
{
    if (server == NULL)
        return NULL;
    listener_free(server->listener);
    while (server->n_connections > 0)
        drop(server, server->n_connections - 1);
    free(server->connections);
    free(server);
    return NULL;
}

bool grpc_server_has_taken_over(const struct grpc_server *server)
{
    return listener_has_taken_over(server->listener);
}

void grpc_server_keep(const struct grpc_server *server)
{
    listener_keep(server->listener);
}
