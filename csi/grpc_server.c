/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections up to a limit. At the limit the one that has been without a call for longest makes
 * room; if all have calls the newcomer is closed, which its client sees as UNAVAILABLE and tries
 * again (T1). Where the system has no more descriptors to give, newcomers wait in the kernel's
 * queue while accepting is suspended for a moment: the loop would run hot otherwise.
 */
#include "csi/grpc_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "csi/grpc_connection.h"
#include "csi/unix_socket.h"

#define BACKLOG        128 /* connections that come in within one turn of the loop */
#define ACCEPT_PAUSE   SPAN_MS(200)
#define TIMER_ACCURACY SPAN_MS(10)

struct grpc_server {
    struct grpc_common common;
    struct unix_socket socket;
    sd_event_source *listening;
    sd_event_source *pause; /* accepting is suspended while it is on */
    struct grpc_connection **connections;
    size_t n_connections;
};

/* ---- connections */

static void drop(struct grpc_server *server, size_t i)
{
    struct grpc_connection *connection = server->connections[i];

    server->connections[i] = server->connections[--server->n_connections];
    (void)grpc_connection_free(connection);
}

static void on_over(void *userdata, struct grpc_connection *connection)
{
    struct grpc_server *server = userdata;

    for (size_t i = 0; i < server->n_connections; i++)
        if (server->connections[i] == connection) {
            drop(server, i);
            return;
        }
    assert(false);
}

/* Return: whether there is room for one more connection now. */
static bool make_room(struct grpc_server *server)
{
    size_t oldest = SIZE_MAX;
    mono_us oldest_since = UINT64_MAX;

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

static void take_connection(struct grpc_server *server, int fd_consumed)
{
    struct grpc_connection *connection = NULL;
    int r;

    if (!make_room(server)) {
        (void)fd_close(fd_consumed);
        log_debug("a client is turned away: too many have calls", "socket",
                  server->socket.address.sun_path);
        return;
    }
    r = grpc_connection_new(&server->common, fd_consumed, on_over, server, &connection);
    if (r < 0)
        log_debug("cannot take a connection", "error", strerror(-r));
    else
        server->connections[server->n_connections++] = connection;
}

/* ---- accepting */

static int on_pause_over(sd_event_source *source, uint64_t now, void *userdata)
{
    struct grpc_server *server = userdata;

    (void)source;
    (void)now;
    return sd_event_source_set_enabled(server->listening, SD_EVENT_ON);
}

static int pause_accepting(struct grpc_server *server)
{
    int r = sd_event_source_set_time_relative(server->pause, ACCEPT_PAUSE);

    if (r >= 0)
        r = sd_event_source_set_enabled(server->pause, SD_EVENT_ONESHOT);
    return r < 0 ? r : sd_event_source_set_enabled(server->listening, SD_EVENT_OFF);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)source;
    (void)revents;
    if (client_fd >= 0)
        take_connection(userdata, client_fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        return pause_accepting(userdata);
    return 0;
}

static int server_start(struct grpc_server *server, sd_event *event,
                        const struct grpc_server_options *options, struct error *e)
{
    int r;

    server->connections =
        calloc(server->common.limits.connections, sizeof(struct grpc_connection *));
    if (server->connections == NULL)
        return error_set_errno(e, -ENOMEM, "cannot serve %s", options->path);
    r = sd_event_add_time_relative(event, &server->pause, CLOCK_MONOTONIC, 0, TIMER_ACCURACY,
                                   on_pause_over, server);
    if (r >= 0)
        r = sd_event_source_set_enabled(server->pause, SD_EVENT_OFF);
    if (r < 0)
        return error_set_errno(e, r, "cannot serve %s", options->path);
    r = unix_socket_listen(options->path, BACKLOG, &server->socket, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &server->listening, server->socket.fd, EPOLLIN, on_connection,
                        server);
    return r < 0 ? error_set_errno(e, r, "cannot serve %s", options->path) : 0;
}

int grpc_server_new(sd_event *event, const struct grpc_server_options *options, void *userdata,
                    struct grpc_server **ret_server, struct error *e)
{
    _cleanup_(grpc_server_freep) struct grpc_server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL)
        return error_set_errno(e, -ENOMEM, "cannot serve %s", options->path);
    server->socket.fd = -1;
    server->common = (struct grpc_common){
        .event = event,
        .methods = options->methods,
        .n_methods = options->n_methods,
        .userdata = userdata,
        .answered = options->answered,
        .limits = options->limits != NULL ? *options->limits : grpc_limits_default,
    };
    r = server_start(server, event, options, e);
    if (r == 0)
        *ret_server = TAKE(server);
    return r;
}

struct grpc_server *grpc_server_free(struct grpc_server *server)
{
    if (server == NULL)
        return NULL;
    (void)sd_event_source_disable_unref(server->listening);
    (void)sd_event_source_disable_unref(server->pause);
    unix_socket_close(&server->socket);
    while (server->n_connections > 0)
        drop(server, server->n_connections - 1);
    free(server->connections);
    free(server);
    return NULL;
}

bool grpc_server_is_in_place(const struct grpc_server *server)
{
    return unix_socket_is_in_place(&server->socket);
}
