/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that libcurl has open, and how many requests each carries. libcurl obeys the number
 * of streams that a server allows on an HTTP/2 connection (SETTINGS_MAX_CONCURRENT_STREAMS) but
 * does not say what it is. Most servers allow the hundred that we use. Where it is less, a request
 * that we thought would find room is not sent; from then on what the fullest connection carries
 * counts as the limit, until a connection closes, as that may be another server's.
 *
 * Libcurl's own limit of connections is set to what is open, so that such a request waits and does
 * not open a connection for itself, which all others would do as well.
 *
 * A request says from which local port it goes out, which is how its connection is found.
 *
 * libcurl 7.88 tells when it closes a socket, but not if that never became a connection. Such ones
 * are found by their descriptor being closed, or somebody else's.
 */
#include "fetcher/http/connections.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* With what http_request.c sets: a peer that is gone without a word is noticed after 25 s. */
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS  25000

static void connection_unref(struct http_connection *connection)
{
    if (connection->fd >= 0 || connection->n_streams > 0)
        return;
    list_remove(&connection->link);
    connection->magic = 0;
    free(connection);
}

static void connection_end(struct http_client *client, struct http_connection *c)
{
    assert(client->stats.connections > 0);
    client->stats.connections--;
    client->n_ready -= c->is_ready;
    c->is_ready = false;
    c->fd = -1;
    connection_unref(c);
}

/* The number by which the kernel knows a socket; 0 for no open descriptor. */
static ino_t socket_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

void http_connections_forget_lost(struct http_client *client)
{
    struct http_connection *c, *tmp;

    list_for_each_safe (c, tmp, &client->connections, link)
        if (c->fd >= 0 && !c->was_used && socket_inode(c->fd) != c->inode)
            connection_end(client, c);
}

curl_socket_t http_connection_open(void *userdata, curlsocktype purpose,
                                   struct curl_sockaddr *address)
{
    struct http_client *client = userdata;
    struct http_connection *connection = calloc(1, sizeof(*connection));

    if (connection == NULL)
        return CURL_SOCKET_BAD;
    http_connections_forget_lost(client);
    *connection = (struct http_connection){
        .magic = HTTP_CONNECTION_MAGIC,
        .fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol),
    };
    if (connection->fd < 0) {
        free(connection);
        return CURL_SOCKET_BAD;
    }
    connection->inode = socket_inode(connection->fd);
    list_append(&client->connections, &connection->link);
    client->stats.connections++;
    return connection->fd;
}

int http_connection_close(void *userdata, curl_socket_t fd)
{
    struct http_client *client = userdata;
    struct http_connection *c;

    list_for_each (c, &client->connections, link) {
        if (c->fd == fd) {
            client->streams_max = HTTP_STREAMS_PER_CONNECTION;
            connection_end(client, c);
            break;
        }
    }
    return close(fd);
}

/* Best effort: a kernel that refuses one of these still gives a connection. */
int http_connection_prepare(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
    const int probes = KEEPALIVE_PROBES, user_timeout_ms = USER_TIMEOUT_MS;

    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    return CURL_SOCKOPT_OK;
}

static int local_port(int fd)
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

static struct http_connection *find_port(struct http_client *client, int port)
{
    struct http_connection *c;

    list_for_each (c, &client->connections, link) {
        if (c->fd >= 0 && c->port == 0)
            c->port = local_port(c->fd);
        if (c->fd >= 0 && c->port == port)
            return c;
    }
    return NULL;
}

void http_connection_use(struct http_request *request, int port)
{
    struct http_client *client = request->client;

    list_remove(&request->link);
    list_append(&client->sent, &request->link);
    http_connection_leave(request); /* libcurl sends it again when the first connection was dead */
    request->connection = find_port(client, port);
    if (request->connection == NULL)
        return;
    request->connection->was_used = true;
    request->connection->n_streams++;
}

void http_connection_leave(struct http_request *request)
{
    struct http_connection *connection = request->connection;

    request->connection = NULL;
    if (connection == NULL)
        return;
    assert(connection->magic == HTTP_CONNECTION_MAGIC && connection->n_streams > 0);
    connection->n_streams--;
    connection_unref(connection);
}

void http_connection_answered(struct http_request *request, long http_version)
{
    struct http_client *client = request->client;
    struct http_connection *connection = request->connection;

    client->is_serial = http_version < CURL_HTTP_VERSION_2_0;
    if (client->pioneer == request)
        client->pioneer = NULL;
    if (connection == NULL || connection->is_ready || connection->fd < 0)
        return;
    connection->is_ready = true;
    client->n_ready++;
}

bool http_connections_have_room(const struct http_client *client)
{
    return client->is_serial || client->n_active < client->n_ready * client->streams_max;
}

bool http_connections_are_coming(struct http_client *client)
{
    http_connections_forget_lost(client);
    return client->stats.connections > client->n_ready;
}

void http_connections_learn(struct http_client *client)
{
    const struct http_connection *c;
    size_t fullest = 0;

    list_for_each (c, &client->connections, link)
        if (c->is_ready && c->n_streams > fullest)
            fullest = c->n_streams;
    if (fullest > 0 && fullest < client->streams_max)
        client->streams_max = fullest;
}
