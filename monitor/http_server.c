/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd on the event loop, without a thread of its own: the loop watches its epoll
 * descriptor and has a timer for its next deadline.
 *
 * Any host that can connect may send requests, so there are limits: connections, connections per
 * host, the size of a request's head, the time a connection may be idle. Beyond the limits of
 * connections the newcomer is accepted and the oldest one dropped: clients without a request keep
 * no other from its response. A request's body is read
 * and dropped. A response is written in one go when its request is complete, so it shows one
 * moment.
 *
 * A socket that is kept outlives the process, and connections that arrive meanwhile wait in its
 * queue. Its label is the network namespace and the address of the configuration. With another
 * address, or in the next pod, whose network namespace is another one, a new socket is made.
 */
#include "monitor/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"

#define ADDRESS_TEXT_SIZE (INET6_ADDRSTRLEN + sizeof("[]:65535"))
#define LABEL_SIZE        (ADDRESS_TEXT_SIZE + sizeof("18446744073709551615."))
#define TEXT_PLAIN        "text/plain; charset=utf-8"
#define BACKLOG           32
/*
 * How often clients may wake the loop. Without a free descriptor libmicrohttpd leaves connections
 * in the socket's queue, and the socket readable.
 */
#define WAKE_PERIOD       SPAN_MS(100)
#define WAKES_PER_PERIOD  64u /* far more than probes and scrapers cause */
#define DROPPED_MAX       32  /* connections that were dropped, and that are not closed yet */

struct http_server {
    const struct kept_socket *keep; /* NULL: the socket ends with the process */
    const struct http_server_route *routes;
    void *userdata;
    struct MHD_Daemon *daemon;
    sd_event_source *io;
    sd_event_source *timer;
    char address[ADDRESS_TEXT_SIZE];
    struct list connections; /* the one whose last request is the longest ago is first */
};

struct connection {
    struct list link;
    int fd;                       /* libmicrohttpd's */
    struct sockaddr_storage host; /* without its port */
    bool is_dropped;
};

/* ---- addresses */

static int parse_port(const char *text, in_port_t *ret_port)
{
    unsigned long port;
    char *end;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    port = strtoul(text, &end, 10);
    if (*end != '\0' || errno != 0 || port > 65535)
        return -EINVAL;
    *ret_port = htons((in_port_t)port);
    return 0;
}

static int parse_host(const char *host, bool is_bracketed, in_port_t port,
                      struct sockaddr_storage *ret_address, socklen_t *ret_len)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
    bool is_v6 = is_bracketed || *host == '\0';

    if (streq(host, "localhost"))
        host = "127.0.0.1";
    memset(ret_address, 0, sizeof(*ret_address));
    if (is_bracketed ? inet_pton(AF_INET6, host, &v6.sin6_addr) != 1
                     : !is_v6 && inet_pton(AF_INET, host, &v4.sin_addr) != 1)
        return -EINVAL;
    *ret_len = is_v6 ? sizeof(v6) : sizeof(v4);
    memcpy(ret_address, is_v6 ? (const void *)&v6 : (const void *)&v4, *ret_len);
    return 0;
}

int http_server_parse_address(const char *text, struct sockaddr_storage *ret_address,
                              socklen_t *ret_len, struct error *e)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    bool is_bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    char host[INET6_ADDRSTRLEN];
    in_port_t port = 0;
    int r = -EINVAL;

    if (streq(text, "0") || *text == '\0')
        return HTTP_SERVER_OFF;
    if (colon != NULL && len < sizeof(host) && parse_port(colon + 1, &port) == 0) {
        snprintf(host, sizeof(host), "%.*s", (int)(is_bracketed ? len - 2 : len),
                 is_bracketed ? text + 1 : text);
        r = parse_host(host, is_bracketed, port, ret_address, ret_len);
    }
    if (r < 0)
        return error_set(
            e, r,
            "invalid address '%.100s': give an IP address and a port as 127.0.0.1:9090, "
            "[::1]:9090 or :9090, or 0 to turn the server off",
            text);
    return 0;
}

bool http_server_is_loopback(const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *v6 = (const void *)address;
    const struct sockaddr_in *v4 = (const void *)address;

    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    return address->ss_family == AF_INET && ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Without brackets and port. Return: whether it may be an address. */
static bool copy_host(const char *host, char ret_host[static INET6_ADDRSTRLEN])
{
    bool is_bracketed = *host == '[';
    size_t len;

    host += is_bracketed;
    len = strcspn(host, is_bracketed ? "]" : ":");
    if (len >= INET6_ADDRSTRLEN || (is_bracketed && host[len] != ']'))
        return false;
    memcpy(ret_host, host, len);
    ret_host[len] = '\0';
    return true;
}

bool http_server_names_loopback(const char *host)
{
    struct sockaddr_storage address;
    char name[INET6_ADDRSTRLEN];
    socklen_t len;

    return host != NULL && *host != '\0' && copy_host(host, name) &&
           parse_host(name, *host == '[', 0, &address, &len) == 0 &&
           http_server_is_loopback(&address);
}

static void write_address(int fd, char text[static ADDRESS_TEXT_SIZE])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {.sin6_family = AF_UNSPEC}};
    socklen_t len = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "";

    getsockname(fd, &address.any, &len);
    if (address.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_SIZE, "[%s]:%u", host, ntohs(address.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof(host));
        snprintf(text, ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(address.v4.sin_port));
    }
}

static int listen_on(const struct sockaddr_storage *address, socklen_t len, int *ret_fd)
{
    _cleanup_(fd_closep) int fd =
        socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1, off = 0;

    if (fd < 0)
        return negative_errno();
    /* a restart must not wait for old connections to time out; "[::]" includes IPv4 */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return negative_errno();
    if (address->ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return negative_errno();
    if (bind(fd, (const struct sockaddr *)address, len) < 0 || listen(fd, BACKLOG) < 0)
        return negative_errno();
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* On a host without IPv6, ":PORT" is every IPv4 address. */
static int listen_with_ipv4_fallback(struct sockaddr_storage *address, socklen_t len, int *ret_fd)
{
    const struct sockaddr_in6 *v6 = (const void *)address;
    struct sockaddr_in any = {.sin_family = AF_INET};
    int r = listen_on(address, len, ret_fd);
    bool is_any = address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);

    if (!is_any || (r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL))
        return r;
    any.sin_port = v6->sin6_port;
    memcpy(address, &any, sizeof(any));
    return listen_on(address, sizeof(any), ret_fd);
}

/* A name in a descriptor store has no ":". */
static void label_of(const char *address, char label[static LABEL_SIZE])
{
    struct stat net = {.st_ino = 0};

    (void)stat("/proc/self/ns/net", &net);
    snprintf(label, LABEL_SIZE, "%ju.%s", (uintmax_t)net.st_ino, address);
    for (char *colon = label; (colon = strchr(colon, ':')) != NULL;)
        *colon = '_';
}

/* @address: valid */
static int take_over_or_listen(const struct kept_socket *keep, const char *address, int *ret_fd)
{
    char label[LABEL_SIZE];
    struct sockaddr_storage where = {0};
    socklen_t len = 0;
    int r;

    label_of(address, label);
    *ret_fd = kept_socket_take(keep, label);
    if (*ret_fd >= 0)
        return 0;
    (void)http_server_parse_address(address, &where, &len, NULL);
    r = listen_with_ipv4_fallback(&where, len, ret_fd);
    if (r == 0)
        kept_socket_put(keep, label, *ret_fd);
    return r;
}

/* ---- answers */

static void add_browser_headers(struct MHD_Response *response)
{
    static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                                 "connect-src 'self'; base-uri 'none'; form-action 'none'; "
                                 "frame-ancestors 'none'";

    (void)MHD_add_response_header(response, "Content-Security-Policy", policy);
    (void)MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    (void)MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
}

static void add_headers(struct MHD_Response *response, const struct http_server_answer *answer)
{
    if (answer->is_for_browsers)
        add_browser_headers(response);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->content_type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
}

/* Return: MHD_NO when memory runs out; libmicrohttpd then closes the connection. */
static enum MHD_Result send_answer(struct MHD_Connection *connection,
                                   struct http_server_answer *answer)
{
    static char nothing[1];
    struct MHD_Response *response;
    enum MHD_Result result;

    assert(answer->status >= 200 && answer->content_type != NULL);
    if (answer->body.len == 0)
        response = MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    else
        response = MHD_create_response_from_buffer_with_free_callback(answer->body.len,
                                                                      answer->body.data, free);
    if (response == NULL)
        return MHD_NO;
    if (answer->body.len > 0)
        (void)TAKE(answer->body.data); /* the response owns it */
    add_headers(response, answer);
    result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static void answer_error(struct http_server_answer *answer, unsigned status)
{
    buf_reset(&answer->body);
    answer->status = status;
    answer->content_type = TEXT_PLAIN;
    /* without memory for a body only the status is sent */
    if (buf_addf(&answer->body, "%u %s\n", status, MHD_get_reason_phrase_for(status)) < 0)
        buf_reset(&answer->body);
}

static bool wants_verbose(struct MHD_Connection *connection)
{
    static const char key[] = "verbose";

    return MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, key, sizeof(key) - 1,
                                         NULL, NULL) == MHD_YES;
}

static bool may_answer(const struct http_server_route *route, struct MHD_Connection *connection)
{
    return !route->is_for_browsers || http_server_names_loopback(MHD_lookup_connection_value(
                                          connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST));
}

static void answer_path(const struct http_server *server, struct MHD_Connection *connection,
                        const char *path, struct http_server_answer *answer)
{
    const struct http_server_route *route = server->routes;
    int r;

    while (route->answer != NULL && !streq(route->path, path))
        route++;
    answer->is_for_browsers = route->is_for_browsers;
    if (route->answer == NULL) {
        answer_error(answer, MHD_HTTP_NOT_FOUND);
        return;
    }
    if (!may_answer(route, connection)) {
        answer_error(answer, MHD_HTTP_MISDIRECTED_REQUEST);
        return;
    }
    r = route->answer(server->userdata, wants_verbose(connection), answer);
    if (r < 0) {
        log_debug("cannot write a page", "path", path, "error", strerror(-r));
        answer_error(answer, MHD_HTTP_INTERNAL_SERVER_ERROR);
    }
}

/* ---- connections */

static void get_host(struct MHD_Connection *connection, struct sockaddr_storage *ret_host)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const void *address = info != NULL ? info->client_addr : NULL;

    memset(ret_host, 0, sizeof(*ret_host));
    if (address == NULL)
        return;
    if (info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 *v6 = (void *)ret_host;

        v6->sin6_family = AF_INET6;
        v6->sin6_addr = ((const struct sockaddr_in6 *)address)->sin6_addr;
    } else {
        struct sockaddr_in *v4 = (void *)ret_host;

        v4->sin_family = AF_INET;
        v4->sin_addr = ((const struct sockaddr_in *)address)->sin_addr;
    }
}

/* libmicrohttpd notices it in its next pass, and closes the connection. */
static void connection_drop(struct connection *c)
{
    c->is_dropped = true;
    shutdown(c->fd, SHUT_RDWR);
}

/* @host: NULL for every host. Drop the oldest connection if there are more than @max. */
static void drop_oldest(struct http_server *server, const struct sockaddr_storage *host, size_t max)
{
    struct connection *c, *oldest = NULL;
    size_t n = 0;

    list_for_each (c, &server->connections, link) {
        if (c->is_dropped || (host != NULL && memcmp(&c->host, host, sizeof(*host)) != 0))
            continue;
        oldest = oldest != NULL ? oldest : c;
        n++;
    }
    if (n > max)
        connection_drop(oldest);
}

/* Without memory or descriptor the connection is not counted; libmicrohttpd's own limit holds. */
static void connection_new(struct http_server *server, struct MHD_Connection *connection,
                           void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = calloc(1, sizeof(*c));

    if (c == NULL || info == NULL) {
        free(c);
        return;
    }
    c->fd = info->connect_fd;
    get_host(connection, &c->host);
    list_append(&server->connections, &c->link);
    *socket_context = c;
    drop_oldest(server, &c->host, HTTP_SERVER_CONNECTIONS_PER_HOST);
    drop_oldest(server, NULL, HTTP_SERVER_CONNECTIONS_MAX);
}

static void on_connection(void *userdata, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct connection *c = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_new(userdata, connection, socket_context);
    } else if (c != NULL) {
        list_remove(&c->link);
        free(c);
        *socket_context = NULL;
    }
}

/* A request makes its connection the newest. */
static void touch(struct http_server *server, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info != NULL ? info->socket_context : NULL;

    if (c == NULL)
        return;
    list_remove(&c->link);
    list_append(&server->connections, &c->link);
}

/* libmicrohttpd calls this for the head of a request, each piece of its body, and its end. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_len, void **request)
{
    static char seen;
    struct http_server_answer answer = {
        .status = MHD_HTTP_OK, .content_type = TEXT_PLAIN, .body = BUF_INIT(HTTP_SERVER_BODY_MAX)};
    bool is_head = *request == NULL;
    enum MHD_Result result;

    *request = &seen;
    if (!streq(method, MHD_HTTP_METHOD_GET) && !streq(method, MHD_HTTP_METHOD_HEAD)) {
        answer_error(&answer, MHD_HTTP_METHOD_NOT_ALLOWED);
    } else if (is_head || *upload_len > 0) {
        *upload_len = 0;
        return MHD_YES;
    } else {
        touch(userdata, connection);
        answer_path(userdata, connection, path, &answer);
    }
    result = send_answer(connection, &answer);
    buf_deinit(&answer.body);
    return result;
}

/* ---- the loop */

static unsigned count_connections(const struct http_server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info != NULL ? info->num_connections : 0;
}

static void run(struct http_server *server)
{
    MHD_UNSIGNED_LONG_LONG after_ms;
    unsigned n_before;

    /* at its limit libmicrohttpd accepts again only in the pass after a connection was closed */
    do {
        n_before = count_connections(server);
        MHD_run(server->daemon);
    } while (count_connections(server) < n_before);
    /* neither call fails for an existing source */
    if (MHD_get_timeout(server->daemon, &after_ms) == MHD_YES) {
        sd_event_source_set_time_relative(server->timer, SPAN_MS(after_ms));
        sd_event_source_set_enabled(server->timer, SD_EVENT_ONESHOT);
    } else {
        sd_event_source_set_enabled(server->timer, SD_EVENT_OFF);
    }
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    run(userdata);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    run(userdata);
    return 0;
}

/* @fd: owned by server->daemon on success */
static int start_daemon(struct http_server *server, int fd)
{
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(HTTP_SERVER_CONNECTIONS_MAX + DROPPED_MAX),
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HTTP_SERVER_IDLE_SEC, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_SERVER_CONNECTION_MEMORY, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    return server->daemon != NULL ? 0 : -ENOMEM;
}

static int watch_daemon(struct http_server *server, sd_event *event)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int r;

    if (info == NULL)
        return -EIO;
    r = sd_event_add_io(event, &server->io, info->epoll_fd, EPOLLIN, on_io, server);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &server->timer, CLOCK_MONOTONIC, 0, SPAN_MS(10),
                                       on_timer, server);
    if (r >= 0)
        r = sd_event_source_set_ratelimit(server->io, WAKE_PERIOD, WAKES_PER_PERIOD);
    if (r < 0)
        return r;
    /* updates have priority */
    sd_event_source_set_priority(server->io, SD_EVENT_PRIORITY_IDLE - 1);
    sd_event_source_set_priority(server->timer, SD_EVENT_PRIORITY_IDLE - 1);
    return 0;
}

int http_server_new(sd_event *event, const char *address, const struct kept_socket *keep,
                    const struct http_server_route *routes, void *userdata,
                    struct http_server **ret_server, struct error *e)
{
    _cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof(*server));
    _cleanup_(fd_closep) int fd = -1;
    struct sockaddr_storage where = {0};
    socklen_t len = 0;
    int r = http_server_parse_address(address, &where, &len, e);

    assert(r != HTTP_SERVER_OFF);
    if (r < 0)
        return r;
    if (server == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the HTTP server");
    list_init(&server->connections);
    server->keep = keep;
    server->routes = routes;
    server->userdata = userdata;
    r = take_over_or_listen(keep, address, &fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot listen on %s", address);
    write_address(fd, server->address);
    r = start_daemon(server, fd);
    if (r == 0) {
        (void)TAKE_FD(fd);
        r = watch_daemon(server, event);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot start the HTTP server at %s", address);
    *ret_server = TAKE(server);
    return 0;
}

/* libmicrohttpd shuts down the socket that it stops to listen on, for all processes. */
static void stop_daemon(struct http_server *server)
{
    if (kept_socket_is_left(server->keep))
        fd_close(MHD_quiesce_daemon(server->daemon));
    MHD_stop_daemon(server->daemon);
}

struct http_server *http_server_free(struct http_server *server)
{
    if (server == NULL)
        return NULL;
    sd_event_source_disable_unref(server->io);
    sd_event_source_disable_unref(server->timer);
    if (server->daemon != NULL)
        stop_daemon(server);
    if (!kept_socket_is_left(server->keep))
        kept_socket_remove(server->keep);
    free(server);
    return NULL;
}

const char *http_server_address(const struct http_server *server)
{
    return server->address;
}
