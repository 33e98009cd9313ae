/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface on the event loop: libcurl requests events of sockets and one timer
 * (client_watch_socket(), client_set_timer()), and is called when they are ready (client_act()).
 *
 *  - libcurl must not be called from within its own callbacks. A request that is submitted there is
 *    queued (admission.c), one that is freed there is put on a list, and client_run() handles both
 *    when libcurl has returned.
 *  - client_run() reports the end of a request, never a callback of libcurl.
 *  - libcurl's timeout of 0 means as soon as possible but not now: the timer is set to the present
 *    and fires in the next turn of the loop.
 *
 * A request's way: http_client_send() -> http_admission_submit() -> http_request_start(), then
 * libcurl's callbacks in request.c, then client_run() -> http_admission_finish().
 */
#include "fetcher/http/client.h"

#include <sys/epoll.h>

#include "fetcher/http/admission.h"
#include "fetcher/http/curl_quirks.h"

struct http_client {
    struct http_transport transport;
    struct http_admission admission;

    sd_event *event;
    sd_event_source *timer; /* libcurl's */
    struct curl_reread reread;
    struct list freed; /* requests that were freed within a callback of libcurl */
};

#define SOCKET_MAGIC 0x736f636bu
struct http_socket {
    unsigned magic;
    struct http_client *client;
    sd_event_source *io;
    struct curl_reread_socket reread;
};

/* ---- running libcurl */

/* After libcurl returned. Handlers that are called here may submit and free requests. */
static void client_run(struct http_client *client)
{
    CURLMsg *message;
    int n_left;

    assert(client->transport.n_calls == 0);
    while (!list_is_empty(&client->freed))
        http_request_destroy(list_entry(client->freed.next, struct http_request, link));
    while ((message = curl_multi_info_read(client->transport.multi, &n_left)) != NULL) {
        CURLcode code = message->data.result;
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        http_admission_finish(&client->admission, http_request_check(private), code);
    }
    http_admission_find_restarted(&client->admission);
    /* what libcurl could not send a moment ago, it may be about to send */
    if (!curl_quirks_has_due_timer(client->transport.multi))
        http_admission_requeue_unsent(&client->admission);
    http_admission_run(&client->admission);
}

static void client_act(struct http_client *client, curl_socket_t fd, int what)
{
    int n_running;

    client->transport.n_calls++;
    curl_multi_socket_action(client->transport.multi, fd, what, &n_running);
    client->transport.n_calls--;
    client_run(client);
}

static void client_read(void *userdata, int fd)
{
    client_act(userdata, fd, CURL_CSELECT_IN);
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
        curl_reread_on_input(&client->reread, &s->reread);
    client_act(client, fd, what); /* may free s */
    return 0;
}

static int client_on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    struct http_client *client = userdata;
    struct http_request *request;

    list_for_each (request, &client->transport.unsent, link)
        request->was_run = true; /* libcurl sends new requests when its timer fires */
    client_act(client, CURL_SOCKET_TIMEOUT, 0);
    http_admission_requeue_unsent(&client->admission);
    curl_reread_on_timer(&client->reread);
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
    curl_reread_remove(&s->reread);
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
    *s = (struct http_socket){.magic = SOCKET_MAGIC, .client = client};
    curl_reread_add(&client->reread, &s->reread, fd);
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
        curl_multi_assign(client->transport.multi, fd, s);
    }
    if ((what & CURL_POLL_IN) != 0)
        events |= EPOLLIN;
    if ((what & CURL_POLL_OUT) != 0)
        events |= EPOLLOUT;
    return sd_event_source_set_io_events(s->io, events) < 0 ? -1 : 0;
}

/* ---- the client */

static int client_set_events(struct http_client *client)
{
    const struct curl_reread_owner owner = {
        .multi = client->transport.multi,
        .n_callbacks = &client->transport.n_callbacks,
        .read = client_read,
        .userdata = client,
    };
    int r = sd_event_add_time(client->event, &client->timer, CLOCK_MONOTONIC, 0, 1, client_on_timer,
                              client);

    if (r >= 0)
        r = sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = curl_reread_init(&client->reread, client->event, &owner);
    if (r >= 0)
        r = http_admission_init(&client->admission, client->event, &client->transport);
    return r;
}

int http_client_new(sd_event *event, const struct api_config *config,
                    struct http_client **ret_client, struct error *e)
{
    _cleanup_(http_client_freep) struct http_client *client = NULL;
    int r = curl_quirks_init(e);

    if (r < 0)
        return r;
    client = calloc(1, sizeof(*client));
    if (client == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    client->event = sd_event_ref(event);
    list_init(&client->freed);
    r = http_transport_init(&client->transport, config, e);
    if (r < 0)
        return r;
    rate_limit_init(&client->transport.rate_limit, HTTP_DEFAULT_QPS, HTTP_DEFAULT_BURST);
    curl_multi_setopt(client->transport.multi, CURLMOPT_SOCKETFUNCTION, client_watch_socket);
    curl_multi_setopt(client->transport.multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->transport.multi, CURLMOPT_TIMERFUNCTION, client_set_timer);
    curl_multi_setopt(client->transport.multi, CURLMOPT_TIMERDATA, client);
    r = client_set_events(client);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare requests");
    *ret_client = TAKE(client);
    return 0;
}

struct http_client *http_client_free(struct http_client *client)
{
    if (client == NULL)
        return NULL;
    assert(list_is_empty(&client->freed));
    http_admission_deinit(&client->admission);
    http_transport_deinit(&client->transport); /* libcurl takes its sockets and its timer back */
    curl_reread_deinit(&client->reread);
    sd_event_source_disable_unref(client->timer);
    sd_event_unref(client->event);
    free(client);
    return NULL;
}

const struct http_stats *http_client_stats(struct http_client *client)
{
    struct http_stats *stats = &client->transport.stats;

    stats->connections = (unsigned)client->transport.connections.n_open;
    stats->n_waiting = client->admission.n_waiting;
    return stats;
}

void http_client_set_rate_limit(struct http_client *client, unsigned per_sec, unsigned burst)
{
    rate_limit_init(&client->transport.rate_limit, per_sec, burst);
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
        request = http_request_new(&client->transport, call, handler, userdata);
    if (r == 0)
        r = request != NULL ? http_admission_submit(&client->admission, request) : -ENOMEM;
    if (r < 0) {
        http_request_destroy(request);
        return error_set_errno(e, r, "cannot send a request to %s",
                               client->transport.config->server);
    }
    *ret_request = request;
    return 0;
}

struct http_request *http_request_free(struct http_request *request)
{
    struct http_client *client;

    if (request == NULL)
        return NULL;
    client = CONTAINER_OF(request->transport, struct http_client, transport);
    request->handler = NULL;
    http_admission_remove(&client->admission, request);
    if (client->transport.n_calls > 0) {
        list_remove(&request->link);
        list_append(&client->freed, &request->link);
        return NULL;
    }
    http_request_destroy(request);
    http_admission_schedule(&client->admission); /* another may have waited for this one */
    return NULL;
}
