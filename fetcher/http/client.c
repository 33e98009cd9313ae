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
#include "fetcher/http/client.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "fetcher/http/admission.h"
#include "fetcher/http/connections.h"
#include "fetcher/http/library_memory.h"
#include "fetcher/http/request.h"

#define SETTLE_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

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

/* ---- running libcurl */

/* What had to wait until libcurl returned. Handlers that are called here may add to the lists. */
static void client_run(struct http_client *client)
{
    CURLMsg *message;
    int n_left;

    assert(client->n_calls == 0);
    while (!list_is_empty(&client->freed))
        http_request_destroy(list_entry(client->freed.next, struct http_request, link));
    while ((message = curl_multi_info_read(client->multi, &n_left)) != NULL) {
        CURLcode code = message->data.result;
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        http_request_finish(http_request_check(private), code);
    }
    http_admission_admit(client);
}

static void client_act(struct http_client *client, curl_socket_t fd, int what)
{
    int n_running;

    client->n_calls++;
    curl_multi_socket_action(client->multi, fd, what, &n_running);
    client->n_calls--;
    client_run(client);
}

static bool client_has_due_timer(struct http_client *client)
{
    long timeout_ms = -1;

    curl_multi_timeout(client->multi, &timeout_ms);
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
        sd_event_source_set_enabled(client->settle, SD_EVENT_ONESHOT);
}

/* The settling pass. */
static int client_on_settle(sd_event_source *source, void *userdata)
{
    struct http_client *client = userdata;
    unsigned long n_callbacks = client->n_callbacks;
    struct http_socket *s;

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
    library_memory_wipe();
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
    struct http_request *request;

    list_for_each (request, &client->unsent, link)
        request->was_run = true; /* all that is new is due now */
    client_act(client, CURL_SOCKET_TIMEOUT, 0);
    http_admission_take_back(client);
    client_arm_settle(client);
    return 0;
}

static int client_on_admit(sd_event_source *source, uint64_t at, void *userdata)
{
    http_admission_admit(userdata);
    return 0;
}

static int client_set_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    struct http_client *client = userdata;
    int r;

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
    sd_event_source_disable_unref(s->io);
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

    if (what == CURL_POLL_REMOVE) {
        socket_free(s);
        return 0;
    }
    if (s == NULL) {
        s = socket_new(client, fd);
        if (s == NULL)
            return -1;
        curl_multi_assign(client->multi, fd, s);
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
    close(lowest);
    multi = curl_multi_init();
    close_range((unsigned)lowest, (unsigned)lowest + 7, CLOSE_RANGE_CLOEXEC);
    return multi;
}

static int client_set_multi(struct http_client *client, struct error *e)
{
    client->multi = multi_new(client->event);
    if (client->multi == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, client_watch_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, client_set_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS,
                      (long)HTTP_STREAMS_PER_CONNECTION);
    return 0;
}

static int client_set_events(struct http_client *client, struct error *e)
{
    int r = sd_event_add_time(client->event, &client->timer, CLOCK_MONOTONIC, 0, 1, client_on_timer,
                              client);

    if (r >= 0)
        r = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(client->event, &client->admit, CLOCK_MONOTONIC, 0, 1, client_on_admit,
                              client);
    if (r >= 0)
        r = sd_event_source_set_enabled(client->admit, SD_EVENT_OFF);
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
    list_init(&client->unsent);
    list_init(&client->sent);
    list_init(&client->connections);
    for (size_t i = 0; i < HTTP_QUEUES; i++)
        list_init(&client->queues[i]);
    rate_limit_init(&client->pace, HTTP_PACE_PER_SEC, HTTP_PACE_BURST);
    client->streams_max = HTTP_STREAMS_PER_CONNECTION;
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
    assert(client->n_active == 0 && client->stats.n_waiting == 0 && list_is_empty(&client->freed));
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi); /* takes its sockets and its timer back */
    http_connections_forget_lost(client);
    assert(list_is_empty(&client->sockets) && list_is_empty(&client->connections));
    assert(client->identities == NULL);
    sd_event_source_disable_unref(client->timer);
    sd_event_source_disable_unref(client->settle);
    sd_event_source_disable_unref(client->admit);
    curl_slist_free_all(client->connect_to);
    curl_slist_free_all(client->headers);
    free(client->base_url);
    sd_event_unref(client->event);
    free(client);
    return NULL;
}

const struct http_stats *http_client_stats(const struct http_client *client)
{
    return &client->stats;
}

void http_client_set_rate_limit(struct http_client *client, unsigned per_sec, unsigned burst)
{
    rate_limit_init(&client->pace, per_sec, burst);
}

/* ---- requests */

int http_client_send(struct http_client *client, const struct http_call *call,
                     const struct http_handler *handler, void *userdata,
                     struct http_request **ret_request, struct error *e)
{
    struct http_request *request = NULL;
    int r = 0;

    if (call->body != NULL && strlen(call->body) > HTTP_BODY_MAX_BYTES)
        r = -EFBIG;
    if (r == 0)
        request = http_request_new(client, call);
    if (r == 0)
        r = request != NULL ? http_admission_add(request) : -ENOMEM;
    if (r < 0) {
        http_request_destroy(request);
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
        http_admission_leave(request);
        list_remove(&request->link);
        list_append(&client->freed, &request->link);
        return NULL;
    }
    http_request_destroy(request);
    http_admission_wake(client); /* another may have waited for this one */
    return NULL;
}
