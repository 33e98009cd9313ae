/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface on the event loop.
 *
 * libcurl says which sockets and which one timer it wants watched, and is told when they are ready.
 * Many watches share one HTTP/2 connection; where the server speaks HTTP/1.1 only, each has its
 * own. What has to be minded:
 *
 *  - libcurl must not be called from within its own callbacks. A request that is started or freed
 *    there is put on a list, and client_run() works through the lists when libcurl has returned.
 *  - A request is reported done from client_run(), never from within libcurl.
 *  - A timeout of 0 means as soon as possible but not now: the timer is set to the present and
 *    fires in the next turn of the loop.
 *
 * The settling pass. libcurl 7.88 may stop amid an HTTP/2 connection's receive buffer when a
 * request's own buffer is full, deliver what it copied, and then wait for the socket although the
 * rest is in memory already (cf_h2_data_pending() in its lib/http2.c compares the wrong way round):
 * the end of an event would sit there until the server sends something else. So after each input
 * libcurl is told once more that the socket is readable, from a source of its own as soon as the
 * loop has nothing else to do, and again until nothing comes of it. The first request of the
 * connection then takes what is left in the buffer, or the request that the buffer waits for is run
 * and takes its part. A pass in which no callback was called and after which no timer is due has
 * left nothing behind, so this is when the receive buffers can be wiped (library_memory.c).
 */
#include "fetcher/http.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "base/list.h"
#include "base/log.h"
#include "fetcher/library_memory.h"
#include "fetcher/material.h"
#include "version.h"

#define CONNECT_LIMIT SPAN_SEC(10)

/* A peer that is gone without a word is noticed after 25 s of silence. */
#define KEEPALIVE_IDLE_SEC     10
#define KEEPALIVE_INTERVAL_SEC 5
#define KEEPALIVE_PROBES       3
#define USER_TIMEOUT_MS        ((KEEPALIVE_IDLE_SEC + KEEPALIVE_INTERVAL_SEC * KEEPALIVE_PROBES) * 1000)

/* Streams that one connection carries before another is opened; servers allow 100 and more. */
#define STREAMS_PER_CONNECTION 100u

/* A server's Retry-After beyond this is not believed. */
#define RETRY_AFTER_MAX SPAN_SEC(300)

#define SETTLE_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

#if defined(__x86_64__)
#define ARCH "amd64"
#elif defined(__aarch64__)
#define ARCH "arm64"
#else
#define ARCH "other"
#endif
#define USER_AGENT "secretfs/" SECRETFS_VERSION " (linux/" ARCH ")"

struct http_client {
    sd_event *event;
    const struct api_config *config;
    CURLM *multi;
    char *base_url;                /* config's server, with the name that TLS is to check */
    struct curl_slist *connect_to; /* where the server really is, if that is another name */
    struct curl_slist *headers;    /* of every request, without Authorization */
    sd_event_source *timer;        /* libcurl's */
    sd_event_source *settle;       /* armed after input */
    struct list sockets;           /* of struct http_socket */
    struct list requests;          /* of struct http_request that libcurl knows */
    struct list queued;            /* requests that libcurl is not to know yet */
    size_t n_active;               /* requests that libcurl works on */
    struct http_request *pioneer;  /* the one that opens another connection; NULL: none */
    bool is_serial;                /* a connection carries one request at a time */
    struct list freed;             /* requests freed within a callback of libcurl */
    unsigned n_calls;              /* nesting of calls into libcurl */
    unsigned long n_callbacks;     /* of requests, ever: tells whether a pass was a quiet one */
    unsigned long n_passes;        /* ever */
    struct http_stats stats;
};

#define SOCKET_MAGIC 0x736f636bu
struct http_socket {
    unsigned magic;
    struct http_client *client;
    struct list link;
    sd_event_source *io;
    int fd;
    bool is_unsettled;    /* had input since the last quiet pass */
    unsigned long n_pass; /* the last one that it was in */
};

#define REQUEST_MAGIC 0x72657175u
struct http_request {
    unsigned magic;
    struct http_client *client;
    struct list link;
    CURL *easy;
    struct curl_slist *headers;
    char *body;                         /* NULL: a GET */
    const struct http_handler *handler; /* NULL once it is freed or done */
    void *userdata;
    bool has_response;
    bool is_added; /* to libcurl's multi */
    char error_text[CURL_ERROR_SIZE];
};

/* ---- requests, as libcurl calls back */

static struct http_request *request_check(void *userdata)
{
    struct http_request *request = userdata;

    assert(request->magic == REQUEST_MAGIC);
    return request;
}

static void stats_count(struct http_stats *stats, int status)
{
    size_t i;

    for (i = 0; i < stats->n_codes && stats->codes[i].status != status; i++)
        continue;
    if (i == HTTP_STATS_CODES_MAX)
        return;
    if (i == stats->n_codes)
        stats->codes[stats->n_codes++].status = status;
    stats->codes[i].n++;
}

static const char *protocol_name(long version)
{
    switch (version) {
    case CURL_HTTP_VERSION_1_0:
        return "HTTP/1.0";
    case CURL_HTTP_VERSION_1_1:
        return "HTTP/1.1";
    case CURL_HTTP_VERSION_2_0:
        return "HTTP/2";
    default:
        return "";
    }
}

static void request_respond(struct http_request *request)
{
    struct http_response response = {.content_type = ""};
    long status = 0, version = 0;
    curl_off_t retry_after_sec = 0;
    char *content_type = NULL;

    (void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || request->has_response)
        return; /* an interim response, or trailers */
    (void)curl_easy_getinfo(request->easy, CURLINFO_HTTP_VERSION, &version);
    (void)curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_sec);
    (void)curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response.status = (int)status;
    if (retry_after_sec > 0 && (span_us)retry_after_sec < RETRY_AFTER_MAX / SPAN_SEC(1))
        response.retry_after = SPAN_SEC(retry_after_sec);
    else if (retry_after_sec > 0)
        response.retry_after = RETRY_AFTER_MAX;
    if (content_type != NULL)
        response.content_type = content_type;
    request->has_response = true;
    request->client->stats.protocol = protocol_name(version);
    request->client->is_serial = version < CURL_HTTP_VERSION_2_0;
    if (request->client->pioneer == request)
        request->client->pioneer = NULL;
    stats_count(&request->client->stats, response.status);
    request->handler->on_response(request->userdata, &response);
}

static size_t request_on_header(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = request_check(userdata);
    bool is_end = n > 0 && (bytes[0] == '\r' || bytes[0] == '\n');

    request->client->n_callbacks++;
    if (request->handler != NULL && is_end)
        request_respond(request);
    return request->handler != NULL ? size * n : 0; /* 0 ends the transfer of a freed request */
}

static size_t request_on_body(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = request_check(userdata);

    request->client->n_callbacks++;
    if (request->handler != NULL)
        request->handler->on_body(request->userdata, bytes, size * n);
    /* these are libcurl's own bytes, which it has no use for any more: see library_memory.c */
    explicit_bzero(bytes, size * n);
    return request->handler != NULL ? size * n : CURL_WRITEFUNC_ERROR;
}

static curl_socket_t client_open_socket(void *userdata, curlsocktype purpose,
                                        struct curl_sockaddr *address)
{
    struct http_client *client = userdata;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    (void)purpose;
    if (fd < 0)
        return CURL_SOCKET_BAD;
    client->stats.connections++;
    return fd;
}

static int client_close_socket(void *userdata, curl_socket_t fd)
{
    struct http_client *client = userdata;

    assert(client->stats.connections > 0);
    client->stats.connections--;
    return close(fd);
}

/* Best effort: a kernel that refuses one of these still gives a connection. */
static int client_prepare_socket(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
    const int probes = KEEPALIVE_PROBES, user_timeout_ms = USER_TIMEOUT_MS;

    (void)userdata;
    (void)purpose;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    return CURL_SOCKOPT_OK;
}

/* ---- what goes wrong, in words */

/* Why the server's certificate is not taken: libcurl's words, and what to do. */
static void explain_trust(const struct api_config *config, const char *words, struct error *e)
{
    bool is_name = strstr(words, "subject name") != NULL;

    (void)error_set(e, -EACCES, "the certificate of %s is not trusted: %s: %s in %s",
                    config->server, words,
                    is_name ? "set tls-server-name to a name that the certificate has"
                            : "check certificate-authority",
                    config->origin);
}

static void explain_connect(const struct api_config *config, long os_error, const char *words,
                            struct error *e)
{
    char text[128];

    if (os_error != 0)
        words = strerror_r((int)os_error, text, sizeof(text));
    (void)error_set(e, -ECONNREFUSED,
                    "cannot connect to %s%s: %s: check that %s runs, and its address in %s",
                    config->server, config->proxy_url != NULL ? " through its proxy" : "", words,
                    config->proxy_url != NULL ? "each of them" : "the API server", config->origin);
}

static void explain(const struct http_request *request, CURLcode code, long os_error,
                    struct error *e)
{
    const struct api_config *config = request->client->config;
    const char *words =
        request->error_text[0] != '\0' ? request->error_text : curl_easy_strerror(code);

    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        explain_trust(config, words, e);
        break;
    case CURLE_COULDNT_CONNECT:
        explain_connect(config, os_error, words, e);
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        (void)error_set(e, -ENOENT,
                        "cannot find the address of %s: %s: check its name in %s, and DNS",
                        config->server, words, config->origin);
        break;
    case CURLE_SSL_CERTPROBLEM:
        (void)error_set(e, -EINVAL,
                        "cannot use the client certificate for %s: %s: check client-certificate "
                        "and client-key in %s",
                        config->server, words, config->origin);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        (void)error_set(e, -EINVAL,
                        "cannot use the CA certificates for %s: %s: check certificate-authority "
                        "in %s",
                        config->server, words, config->origin);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        (void)error_set(e, -ETIMEDOUT,
                        "%s did not answer in time: %s: check the network and the "
                        "API server's load",
                        config->server, words);
        break;
    default:
        (void)error_set(e, -EIO, "the connection to %s broke: %s", config->server, words);
        break;
    }
}

/* ---- running libcurl */

static void request_withdraw(struct http_request *request)
{
    struct http_client *client = request->client;

    (void)curl_multi_remove_handle(client->multi, request->easy);
    request->is_added = false;
    client->n_active--;
    if (client->pioneer == request)
        client->pioneer = NULL;
}

static void request_destroy(struct http_request *request)
{
    if (request == NULL)
        return;
    if (request->is_added) {
        /*
         * What is left of a request that is given up is RST_STREAM, which libcurl 7.88 puts into a
         * buffer and sends along with what comes next. So that a server does not go on with the
         * last watch of a connection, the connection is closed with it.
         */
        (void)curl_easy_setopt(request->easy, CURLOPT_FORBID_REUSE, 1L);
        request_withdraw(request);
    }
    list_remove(&request->link);
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    secret_text_free(request->body);
    request->magic = 0;
    free(request);
}

static void request_finish(struct http_request *request, CURLcode code)
{
    const struct http_handler *handler = request->handler;
    enum http_outcome outcome = HTTP_FAILED;
    struct error error = ERROR_INIT;
    long os_error = 0;

    (void)curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &os_error);
    if (request->is_added)
        request_withdraw(request);
    request->handler = NULL;
    if (!request->has_response)
        stats_count(&request->client->stats, 0);
    if (handler == NULL)
        return;
    if (code == CURLE_OK)
        outcome = HTTP_COMPLETE;
    else if (code == CURLE_COULDNT_CONNECT && os_error == ECONNREFUSED)
        outcome = HTTP_REFUSED;
    if (outcome != HTTP_COMPLETE)
        explain(request, code, os_error, &error);
    handler->on_done(request->userdata, outcome, outcome == HTTP_COMPLETE ? NULL : &error);
}

/* Hand a request to libcurl, which begins with it in the next turn of the loop. */
static int request_add(struct http_request *request)
{
    struct http_client *client = request->client;
    CURLMcode code;

    list_remove(&request->link);
    list_append(&client->requests, &request->link);
    client->n_calls++;
    code = curl_multi_add_handle(client->multi, request->easy);
    client->n_calls--;
    if (code != CURLM_OK)
        return -ENOMEM;
    request->is_added = true;
    client->n_active++;
    return 0;
}

/*
 * Whether libcurl may be given another request. It shares the first connection as it should
 * (CURLOPT_PIPEWAIT), but when the open ones are full it opens one for every further request
 * instead of one for all of them. So one request goes ahead, and the others wait until it has its
 * answer and with it a connection that they can share.
 */
static bool client_admits(struct http_client *client, struct http_request *request)
{
    size_t n_coming = client->pioneer != NULL ? 1 : 0, n_open = client->stats.connections;
    size_t n_shared = n_open > n_coming ? n_open - n_coming : 1;
    size_t capacity = n_shared * STREAMS_PER_CONNECTION;

    if (client->is_serial || client->n_active < capacity)
        return true;
    if (client->pioneer != NULL)
        return false;
    client->pioneer = request;
    return true;
}

static void client_admit(struct http_client *client)
{
    while (!list_is_empty(&client->queued)) {
        struct http_request *request = list_entry(client->queued.next, struct http_request, link);

        if (!client_admits(client, request))
            return;
        if (request_add(request) < 0)
            request_finish(request, CURLE_OUT_OF_MEMORY);
    }
}

/* What had to wait until libcurl returned. Handlers that are called here may add to the lists. */
static void client_run(struct http_client *client)
{
    CURLMsg *message;
    int n_left;

    assert(client->n_calls == 0);
    while (!list_is_empty(&client->freed))
        request_destroy(list_entry(client->freed.next, struct http_request, link));
    while ((message = curl_multi_info_read(client->multi, &n_left)) != NULL) {
        CURLcode code = message->data.result;
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        request_finish(request_check(private), code);
    }
    client_admit(client);
}

static void client_act(struct http_client *client, curl_socket_t fd, int what)
{
    int n_running;

    client->n_calls++;
    (void)curl_multi_socket_action(client->multi, fd, what, &n_running);
    client->n_calls--;
    client_run(client);
}

static bool client_has_due_timer(struct http_client *client)
{
    long timeout_ms = -1;

    (void)curl_multi_timeout(client->multi, &timeout_ms);
    return timeout_ms == 0;
}

/* A socket that this pass has not had yet. */
static struct http_socket *client_find_unsettled(struct http_client *client)
{
    struct http_socket *s;

    list_for_each (s, &client->sockets, link)
        if (s->is_unsettled && s->n_pass != client->n_passes)
            return s;
    return NULL;
}

static void client_arm_settle(struct http_client *client)
{
    client->n_passes++;
    if (client_find_unsettled(client) != NULL)
        (void)sd_event_source_set_enabled(client->settle, SD_EVENT_ONESHOT);
}

/* The settling pass. */
static int client_on_settle(sd_event_source *source, void *userdata)
{
    struct http_client *client = userdata;
    unsigned long n_callbacks = client->n_callbacks;
    struct http_socket *s;

    (void)source;
    /* a turn of libcurl may close sockets or open others, so each search begins anew */
    while ((s = client_find_unsettled(client)) != NULL) {
        s->n_pass = client->n_passes;
        client_act(client, s->fd, CURL_CSELECT_IN);
    }
    if (client_has_due_timer(client))
        return 0; /* client_on_timer() arms the next pass */
    if (client->n_callbacks != n_callbacks) {
        client_arm_settle(client);
        return 0;
    }
    list_for_each (s, &client->sockets, link)
        s->is_unsettled = false;
    (void)library_memory_wipe();
    return 0;
}

static void client_unsettle(struct http_client *client, struct http_socket *s)
{
    if (!library_memory_is_known())
        return;
    s->is_unsettled = true;
    client_arm_settle(client);
}

static int socket_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct http_socket *s = userdata;
    struct http_client *client = s->client;
    int what = 0;

    (void)source;
    assert(s->magic == SOCKET_MAGIC);
    if ((revents & (EPOLLIN | EPOLLHUP)) != 0)
        what |= CURL_CSELECT_IN;
    if ((revents & EPOLLOUT) != 0)
        what |= CURL_CSELECT_OUT;
    if ((revents & EPOLLERR) != 0)
        what |= CURL_CSELECT_ERR;
    if ((what & CURL_CSELECT_IN) != 0)
        client_unsettle(client, s);
    client_act(client, fd, what); /* s may be gone after this */
    return 0;
}

static int client_on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    struct http_client *client = userdata;

    (void)source;
    (void)at;
    client_act(client, CURL_SOCKET_TIMEOUT, 0);
    client_arm_settle(client);
    return 0;
}

static int client_set_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    struct http_client *client = userdata;
    int r;

    (void)multi;
    if (timeout_ms < 0)
        return sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    r = sd_event_source_set_time(client->timer, clock_mono() + SPAN_MS(timeout_ms));
    if (r >= 0)
        r = sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT);
    return r < 0 ? -1 : 0;
}

static struct http_socket *socket_free(struct http_socket *s)
{
    if (s == NULL)
        return NULL;
    list_remove(&s->link);
    (void)sd_event_source_disable_unref(s->io);
    s->magic = 0;
    free(s);
    return NULL;
}

static struct http_socket *socket_new(struct http_client *client, int fd)
{
    struct http_socket *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    *s = (struct http_socket){.magic = SOCKET_MAGIC, .client = client, .fd = fd};
    list_append(&client->sockets, &s->link);
    if (sd_event_add_io(client->event, &s->io, fd, 0, socket_on_io, s) < 0)
        return socket_free(s);
    return s;
}

static int client_watch_socket(CURL *easy, curl_socket_t fd, int what, void *userdata,
                               void *socket_userdata)
{
    struct http_client *client = userdata;
    struct http_socket *s = socket_userdata;
    uint32_t events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        (void)socket_free(s);
        return 0;
    }
    if (s == NULL) {
        s = socket_new(client, fd);
        if (s == NULL)
            return -1;
        (void)curl_multi_assign(client->multi, fd, s);
    }
    if ((what & CURL_POLL_IN) != 0)
        events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0)
        events |= EPOLLOUT;
    return sd_event_source_set_io_events(s->io, events) < 0 ? -1 : 0;
}

/* ---- the client */

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
    struct curl_slist *longer;
    char *line;

    if (value == NULL)
        return 0;
    if (asprintf(&line, "%s: %s", name, value) < 0)
        return -ENOMEM;
    longer = curl_slist_append(*list, line);
    free(line);
    if (longer == NULL)
        return -ENOMEM;
    *list = longer;
    return 0;
}

static int add_impersonation(struct http_client *client)
{
    const struct api_config *config = client->config;
    int r = add_header(&client->headers, "Impersonate-User", config->impersonate_user);

    if (r >= 0)
        r = add_header(&client->headers, "Impersonate-Uid", config->impersonate_uid);
    for (char **g = config->impersonate_groups; r >= 0 && g != NULL && *g != NULL; g++)
        r = add_header(&client->headers, "Impersonate-Group", *g);
    return r;
}

/*
 * With tls-server-name, libcurl is told to talk to a server of that name, to find it at the real
 * server's address, and to send the real server's Host: this is what Go's client does.
 */
static int use_tls_server_name(struct http_client *client, CURLU *url)
{
    char *host = NULL, *port = NULL, *connect_to = NULL, *authority = NULL;
    int r = -ENOMEM;

    if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        asprintf(&connect_to, "::%s:%s", host, port) > 0 &&
        asprintf(&authority, "%s:%s", host, port) > 0 &&
        curl_url_set(url, CURLUPART_HOST, client->config->tls_server_name, 0) == CURLUE_OK) {
        client->connect_to = curl_slist_append(NULL, connect_to);
        if (client->connect_to != NULL)
            r = add_header(&client->headers, "Host", authority);
    }
    curl_free(host);
    curl_free(port);
    free(connect_to);
    free(authority);
    return r;
}

static int client_set_server(struct http_client *client, CURLU *url, struct error *e)
{
    const struct api_config *config = client->config;
    CURLUcode code = curl_url_set(url, CURLUPART_URL, config->server, 0);
    char *text = NULL;
    int r = 0;

    if (code == CURLUE_OUT_OF_MEMORY)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests to %s", config->server);
    if (code != CURLUE_OK || (str_after(config->server, "https://") == NULL &&
                              str_after(config->server, "http://") == NULL))
        return error_set(e, -EINVAL,
                         "server \"%.256s\" is not a URL: write https://HOST:PORT in %s",
                         config->server, config->origin);
    if (config->tls_server_name != NULL)
        r = use_tls_server_name(client, url);
    if (r >= 0 && curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
        r = -ENOMEM;
    if (r >= 0) {
        size_t len = strlen(text);

        while (len > 0 && text[len - 1] == '/')
            len--; /* the URL parser adds one */
        client->base_url = strndup(text, len);
        if (client->base_url == NULL)
            r = -ENOMEM;
    }
    curl_free(text);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare requests to %s", config->server);
    return 0;
}

/* A line end in a header's value would begin another header. */
static int check_header_values(const struct api_config *config, struct error *e)
{
    const char *single[] = {config->impersonate_user, config->impersonate_uid};
    bool is_good = true;

    for (size_t i = 0; i < ELEMENTS_OF(single); i++)
        is_good = is_good && (single[i] == NULL || strpbrk(single[i], "\r\n") == NULL);
    for (char **g = config->impersonate_groups; g != NULL && *g != NULL; g++)
        is_good = is_good && strpbrk(*g, "\r\n") == NULL;
    if (is_good)
        return 0;
    return error_set(e, -EINVAL, "a name to impersonate has a line break: correct \"as\" in %s",
                     config->origin);
}

static int client_set_headers(struct http_client *client, struct error *e)
{
    int r = check_header_values(client->config, e);

    if (r < 0)
        return r;
    r = add_header(&client->headers, "Accept", "application/json");
    if (r >= 0)
        r = add_impersonation(client);
    return r < 0 ? error_set_errno(e, r, "cannot prepare requests") : 0;
}

/*
 * A multi handle opens a pair of sockets for itself, without FD_CLOEXEC and without a word. New
 * descriptors have the lowest free numbers, and any other that is met here has the flag anyway.
 */
static CURLM *multi_new(sd_event *event)
{
    int lowest = fcntl(sd_event_get_fd(event), F_DUPFD_CLOEXEC, 0);
    CURLM *multi;

    if (lowest < 0)
        return NULL;
    (void)close(lowest);
    multi = curl_multi_init();
    (void)close_range((unsigned)lowest, (unsigned)lowest + 7, CLOSE_RANGE_CLOEXEC);
    return multi;
}

static int client_set_multi(struct http_client *client, struct error *e)
{
    client->multi = multi_new(client->event);
    if (client->multi == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, client_watch_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, client_set_timer);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
                            (long)STREAMS_PER_CONNECTION);
    return 0;
}

static int client_set_events(struct http_client *client, struct error *e)
{
    int r = sd_event_add_time(client->event, &client->timer, CLOCK_MONOTONIC, 0, 1, client_on_timer,
                              client);

    if (r >= 0)
        r = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_defer(client->event, &client->settle, client_on_settle, client);
    /* behind all others: a source that arms itself again would keep its equals from their turn */
    if (r >= 0)
        r = sd_event_source_set_priority(client->settle, SETTLE_PRIORITY);
    if (r >= 0)
        r = sd_event_source_set_enabled(client->settle, SD_EVENT_OFF);
    return r < 0 ? error_set_errno(e, r, "cannot prepare requests") : 0;
}

int http_client_new(sd_event *event, const struct api_config *config,
                    struct http_client **ret_client, struct error *e)
{
    _cleanup_(http_client_freep) struct http_client *client = NULL;
    CURLU *url;
    int r = library_memory_init(e);

    if (r < 0)
        return r;
    client = calloc(1, sizeof(*client));
    if (client == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    client->event = sd_event_ref(event);
    client->config = config;
    client->stats.protocol = "";
    client->is_serial = str_after(config->server, "http://") != NULL;
    list_init(&client->sockets);
    list_init(&client->requests);
    list_init(&client->queued);
    list_init(&client->freed);
    url = curl_url();
    if (url == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    r = client_set_server(client, url, e);
    curl_url_cleanup(url);
    if (r >= 0)
        r = client_set_headers(client, e);
    if (r >= 0)
        r = client_set_multi(client, e);
    if (r >= 0)
        r = client_set_events(client, e);
    if (r < 0)
        return r;
    *ret_client = TAKE(client);
    return 0;
}

struct http_client *http_client_free(struct http_client *client)
{
    if (client == NULL)
        return NULL;
    assert(client->n_calls == 0);
    assert(list_is_empty(&client->requests) && list_is_empty(&client->queued) &&
           list_is_empty(&client->freed));
    if (client->multi != NULL)
        (void)curl_multi_cleanup(client->multi); /* takes its sockets and its timer back */
    assert(list_is_empty(&client->sockets));
    (void)sd_event_source_disable_unref(client->timer);
    (void)sd_event_source_disable_unref(client->settle);
    curl_slist_free_all(client->connect_to);
    curl_slist_free_all(client->headers);
    free(client->base_url);
    (void)sd_event_unref(client->event);
    free(client);
    return NULL;
}

const struct http_stats *http_client_stats(const struct http_client *client)
{
    return &client->stats;
}

/* ---- a request */

static struct curl_blob blob_of(const char *pem)
{
    return (struct curl_blob){
        .data = (void *)(uintptr_t)pem, /* libcurl copies, and has no const for it */
        .len = pem != NULL ? strlen(pem) : 0,
        .flags = CURL_BLOB_COPY,
    };
}

static CURLcode set_trust(CURL *easy, const struct api_config *config,
                          const struct credentials_material *material)
{
    struct curl_blob ca = blob_of(material->ca_pem),
                     certificate = blob_of(material->client_cert_pem),
                     key = blob_of(material->client_key_pem);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);

    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, library_memory_prepare_tls);
    if (code == CURLE_OK && config->insecure_skip_tls_verify) {
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    } else if (code == CURLE_OK && material->ca_pem != NULL) {
        /* without these two the system's authorities would be trusted besides the given ones */
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        (void)curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        code = curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
    }
    if (code == CURLE_OK && material->client_cert_pem != NULL && material->client_key_pem != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &certificate);
        if (code == CURLE_OK)
            code = curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key);
    }
    return code;
}

static void set_connection(CURL *easy, struct http_client *client)
{
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* without TLS nothing but an answer tells what the server speaks, which could be long */
    (void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, client->is_serial ? 0L : 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_SEC);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_SEC);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(CONNECT_LIMIT / SPAN_MS(1)));
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, client_open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, client);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, client_close_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
    (void)curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, client_prepare_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECT_TO, client->connect_to);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
}

/* libcurl reads the body where it is, so that there is no copy of it but the one in flight. */
static int request_set_body(struct http_request *request, const char *body)
{
    size_t len = body != NULL ? strlen(body) : 0;

    if (body == NULL) {
        (void)curl_easy_setopt(request->easy, CURLOPT_HTTPGET, 1L);
        return 0;
    }
    if (len > HTTP_BODY_MAX_BYTES)
        return -EFBIG;
    request->body = strdup(body);
    if (request->body == NULL)
        return -ENOMEM;
    (void)curl_easy_setopt(request->easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE, (long)len);
    (void)curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, request->body);
    return 0;
}

static CURLcode set_texts(struct http_request *request, const struct http_call *call)
{
    const struct api_config *config = request->client->config;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    char *url;

    if (asprintf(&url, "%s%s", request->client->base_url, call->path) < 0)
        return code;
    code = curl_easy_setopt(request->easy, CURLOPT_URL, url);
    free(url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(request->easy, CURLOPT_USERAGENT, USER_AGENT);
    if (code == CURLE_OK && config->proxy_url != NULL)
        code = curl_easy_setopt(request->easy, CURLOPT_PROXY, config->proxy_url);
    return code;
}

static int request_set_headers(struct http_request *request,
                               const struct credentials_material *material)
{
    for (const struct curl_slist *h = request->client->headers; h != NULL; h = h->next) {
        struct curl_slist *longer = curl_slist_append(request->headers, h->data);

        if (longer == NULL)
            return -ENOMEM;
        request->headers = longer;
    }
    if (request->body != NULL &&
        add_header(&request->headers, "Content-Type", "application/json") < 0)
        return -ENOMEM;
    return add_header(&request->headers, "Authorization", material->authorization);
}

static int request_prepare(struct http_request *request, const struct http_call *call)
{
    CURL *easy = request->easy;
    int r = request_set_body(request, call->body);

    if (r >= 0)
        r = request_set_headers(request, call->material);
    if (r < 0)
        return r;
    set_connection(easy, request->client);
    if (set_texts(request, call) != CURLE_OK ||
        set_trust(easy, request->client->config, call->material) != CURLE_OK)
        return -ENOMEM;
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    (void)curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(call->total_limit / SPAN_MS(1)));
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, request_on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, request_on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    return 0;
}

static struct http_request *request_new(struct http_client *client)
{
    struct http_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        return NULL;
    request->magic = REQUEST_MAGIC;
    request->client = client;
    list_init(&request->link);
    request->easy = curl_easy_init();
    if (request->easy == NULL) {
        free(request);
        return NULL;
    }
    return request;
}

int http_client_send(struct http_client *client, const struct http_call *call,
                     const struct http_handler *handler, void *userdata,
                     struct http_request **ret_request, struct error *e)
{
    struct http_request *request = request_new(client);
    int r = request != NULL ? request_prepare(request, call) : -ENOMEM;

    if (r >= 0 && (client->n_calls > 0 || !client_admits(client, request)))
        list_append(&client->queued, &request->link);
    else if (r >= 0)
        r = request_add(request);
    if (r < 0) {
        request_destroy(request);
        return error_set_errno(e, r, "cannot ask %s", client->config->server);
    }
    request->handler = handler;
    request->userdata = userdata;
    *ret_request = request;
    return 0;
}

struct http_request *http_request_free(struct http_request *request)
{
    struct http_client *client;

    if (request == NULL)
        return NULL;
    client = request->client;
    request->handler = NULL;
    if (client->n_calls > 0) {
        list_remove(&request->link);
        list_append(&client->freed, &request->link);
        return NULL;
    }
    request_destroy(request);
    if (!list_is_empty(&client->queued)) /* it may have waited for this one */
        (void)client_set_timer(client->multi, 0, client);
    return NULL;
}
