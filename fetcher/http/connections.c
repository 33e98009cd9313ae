/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl obeys the number of streams that a server allows on an HTTP/2 connection
 * (SETTINGS_MAX_CONCURRENT_STREAMS), but does not report it, and opens a connection for every
 * request that does not fit. So:
 *
 *  - CURLMOPT_MAX_HOST_CONNECTIONS is the number of connections that are open, plus one while a
 *    request opens another (admission.c). A request that does not fit waits in libcurl.
 *  - HTTP_STREAMS_PER_CONNECTION are assumed until a request is not sent that should have fit. Then
 *    the number of streams of the fullest connection is the limit, until a connection closes: the
 *    next one may lead to another server.
 *
 * A thousand watches are ten connections.
 *
 * A request reports the local port that it is sent from, and the port identifies the connection.
 *
 * libcurl reports that it closes a socket. Where it does not (CURL_QUIRK_LOST_SOCKET), the socket
 * is found by its descriptor, which is closed or belongs to another file.
 *
 * TCP notices within 25 s that a peer is gone. A proxy that stays while the server behind it hangs
 * is not noticed; such a watch ends by its timeout, after 5 to 10 minutes. libcurl can send an
 * HTTP/2 PING (curl_easy_upkeep), but it does not wait for the answer, and the proxy would answer:
 * it is not used.
 */
#include "fetcher/http/connections.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fetcher/http/curl_quirks.h"

/* With message.c's keepalive options, a peer that does not answer is noticed after 25 s. */
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS  25000

void http_connections_init(struct http_connections *connections)
{
    *connections = (struct http_connections){.streams_max = HTTP_STREAMS_PER_CONNECTION};
    list_init(&connections->list);
}

static void free_if_unused(struct http_connection *c)
{
    if (c->fd >= 0 || c->n_streams > 0)
        return;
    list_remove(&c->link);
    c->magic = 0;
    free(c);
}

static void mark_closed(struct http_connection *c)
{
    struct http_connections *connections = c->connections;

    assert(c->fd >= 0 && connections->n_open > 0);
    connections->n_open--;
    connections->n_ready -= c->is_ready;
    c->is_ready = false;
    c->fd = -1;
    free_if_unused(c);
    assert(connections->n_ready <= connections->n_open);
}

void http_connections_drop_lost(struct http_connections *connections)
{
    struct http_connection *c, *tmp;

    list_for_each_safe (c, tmp, &connections->list, link)
        if (c->fd >= 0 && !c->was_used && curl_quirks_is_socket_lost(c->fd, c->inode))
            mark_closed(c);
}

curl_socket_t http_connections_open(void *userdata, curlsocktype purpose,
                                    struct curl_sockaddr *address)
{
    struct http_connections *connections = userdata;
    struct http_connection *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return CURL_SOCKET_BAD;
    http_connections_drop_lost(connections);
    *c = (struct http_connection){
        .magic = HTTP_CONNECTION_MAGIC,
        .connections = connections,
        .fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol),
    };
    if (c->fd < 0) {
        free(c);
        return CURL_SOCKET_BAD;
    }
    c->inode = curl_quirks_socket_inode(c->fd);
    list_append(&connections->list, &c->link);
    connections->n_open++;
    log_trace(LOG_TRACE_HTTP, "connection opened", "fd", LOG_NUM(c->fd), "open",
              LOG_NUM(connections->n_open));
    return c->fd;
}

int http_connections_close(void *userdata, curl_socket_t fd)
{
    struct http_connections *connections = userdata;
    struct http_connection *c;

    list_for_each (c, &connections->list, link) {
        if (c->fd == fd) {
            connections->streams_max = HTTP_STREAMS_PER_CONNECTION;
            mark_closed(c);
            log_trace(LOG_TRACE_HTTP, "connection closed", "fd", LOG_NUM(fd), "open",
                      LOG_NUM(connections->n_open));
            break;
        }
    }
    return close(fd);
}

/* Best effort: a connection without these options works, too. */
int http_connections_set_options(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
    const int probes = KEEPALIVE_PROBES, user_timeout_ms = USER_TIMEOUT_MS;

    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    return CURL_SOCKOPT_OK;
}

static int local_port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof(address);

    if (getsockname(fd, &address.any, &len) < 0)
        return 0;
    if (address.any.sa_family == AF_INET)
        return ntohs(address.in.sin_port);
    return address.any.sa_family == AF_INET6 ? ntohs(address.in6.sin6_port) : 0;
}

struct http_connection *http_connections_acquire(struct http_connections *connections,
                                                 int local_port)
{
    struct http_connection *c;

    list_for_each (c, &connections->list, link) {
        if (c->fd >= 0 && c->port == 0)
            c->port = local_port_of(c->fd);
        if (c->fd >= 0 && c->port == local_port) {
            c->was_used = true;
            c->n_streams++;
            return c;
        }
    }
    return NULL;
}

struct http_connection *http_connection_release(struct http_connection *connection)
{
    if (connection == NULL)
        return NULL;
    assert(connection->magic == HTTP_CONNECTION_MAGIC && connection->n_streams > 0);
    connection->n_streams--;
    free_if_unused(connection);
    return NULL;
}

void http_connections_on_response(struct http_connections *connections,
                                  struct http_connection *connection, long http_version)
{
    connections->is_serial = http_version < CURL_HTTP_VERSION_2_0;
    if (connection == NULL || connection->is_ready || connection->fd < 0)
        return;
    connection->is_ready = true;
    connections->n_ready++;
    assert(connections->n_ready <= connections->n_open);
}

bool http_connections_have_room(const struct http_connections *connections, size_t n_active)
{
    return connections->is_serial || n_active < connections->n_ready * connections->streams_max;
}

void http_connections_reduce_streams_max(struct http_connections *connections)
{
    const struct http_connection *c;
    size_t fullest = 0;

    list_for_each (c, &connections->list, link)
        if (c->is_ready && c->n_streams > fullest)
            fullest = c->n_streams;
    if (fullest > 0 && fullest < connections->streams_max)
        connections->streams_max = fullest;
}

bool http_connections_are_opening(struct http_connections *connections)
{
    const struct http_connection *c;

    http_connections_drop_lost(connections);
    list_for_each (c, &connections->list, link)
        if (c->fd >= 0 && !c->was_used)
            return true;
    return false;
}
