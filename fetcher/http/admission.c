/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request waits in a queue here, not in libcurl, until all of these admit it:
 *
 *  - The rate limit: HTTP_DEFAULT_QPS and HTTP_DEFAULT_BURST (--kube-api-qps, --kube-api-burst), as
 *    a node that starts has thousands of lists to request.
 *  - Retry-After of a 429 or 503, for the whole server, up to PAUSE_MAX of request.c.
 *  - Unanswered requests: UNANSWERED_MAX, so that a slow server does not get more work.
 *  - Room for a stream on an open connection. libcurl shares the first connection as it should
 *    (CURLOPT_PIPEWAIT), but when the open ones are full it opens one for every further request. So
 *    one request, the connection opener, goes first, and the others wait until its connection has
 *    carried a response, and so can be shared.
 *
 * QUEUED_MAX requests wait at most; further ones fail.
 *
 * What libcurl cannot send comes back to the queue (http_admission_requeue_unsent()): a request for
 * which the open connections have no room, and one that the server refused, or whose connection it
 * ended (request.c). libcurl alone would keep it until another connection is opened or closed,
 * which may not happen before the request's time limit. It goes before all others, as its time
 * runs, and the rate limit does not count it again.
 *
 * Lists and reviews have a high priority, as volumes and callers wait for them. Watches have a low
 * one: they are for later changes.
 *
 * When the connection opener cannot reach the server and no connection is left, all requests that
 * wait fail with its error. Otherwise each would try in turn, with a connect timeout of its own.
 * Their reflectors retry them after their own back-offs, spread over time.
 */
#include "fetcher/http/admission.h"

/* A server that answers within 10 ms gets 6,400 requests a second from these. */
#define UNANSWERED_MAX 64u
/* Each key has one request at a time, and the node daemon is designed for 5,000 keys. */
#define QUEUED_MAX     16384u

static int on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    http_admission_run(userdata);
    return 0;
}

int http_admission_init(struct http_admission *admission, sd_event *event,
                        struct http_transport *transport)
{
    int r;

    *admission = (struct http_admission){.transport = transport};
    for (size_t i = 0; i < HTTP_PRIORITIES; i++)
        list_init(&admission->queues[i]);
    r = sd_event_add_time(event, &admission->timer, CLOCK_MONOTONIC, 0, 1, on_timer, admission);
    if (r >= 0)
        r = sd_event_source_set_enabled(admission->timer, SD_EVENT_OFF);
    return r < 0 ? r : 0;
}

void http_admission_deinit(struct http_admission *admission)
{
    assert(admission->n_waiting == 0);
    admission->timer = sd_event_source_disable_unref(admission->timer);
}

static void run_at(struct http_admission *a, mono_us at)
{
    /* neither can fail for a source that exists */
    sd_event_source_set_time(a->timer, at);
    sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
}

void http_admission_schedule(struct http_admission *admission)
{
    if (admission->n_waiting > 0)
        run_at(admission, 0);
}

/* Whether the request may start. If only the rate limit forbids it, the timer is set. */
static bool is_admitted(struct http_admission *a, struct http_request *request)
{
    struct http_transport *t = a->transport;
    bool opens_connection =
        request->needs_connection || !http_connections_have_room(&t->connections, t->n_active);
    mono_us now = clock_mono();
    span_us wait;

    /* a response or the end of a request comes first, and runs the admission again */
    if (t->n_unanswered >= UNANSWERED_MAX || (opens_connection && t->connection_opener != NULL))
        return false;
    wait = request->is_rate_limited ? rate_limit_pause_left(&t->rate_limit, now)
                                    : rate_limit_take(&t->rate_limit, now);
    if (wait > 0) {
        run_at(a, now + wait);
        return false;
    }
    request->is_rate_limited = true;
    request->needs_connection = false;
    if (opens_connection)
        t->connection_opener = request;
    return true;
}

static int start(struct http_transport *t, struct http_request *request)
{
    long n = (long)t->connections.n_open + (t->connection_opener != NULL ? 1 : 0);
    int r;

    /* libcurl opens only the connections that were decided on here; see connections.c */
    curl_multi_setopt(t->multi, CURLMOPT_MAX_HOST_CONNECTIONS, t->connections.is_serial ? 0L : n);
    r = http_request_start(request);
    if (r < 0 && t->connection_opener == request)
        t->connection_opener = NULL;
    return r;
}

static enum http_priority priority_of(const struct http_request *request)
{
    if (request->is_rate_limited)
        return HTTP_PRIORITY_AGAIN;
    return request->is_watch ? HTTP_PRIORITY_LOW : HTTP_PRIORITY_HIGH;
}

static void enqueue(struct http_admission *a, struct http_request *request)
{
    assert(!request->is_queued && !request->is_added);
    list_append(&a->queues[priority_of(request)], &request->link);
    request->is_queued = true;
    a->n_waiting++;
}

void http_admission_remove(struct http_admission *admission, struct http_request *request)
{
    if (!request->is_queued)
        return;
    assert(admission->n_waiting > 0);
    list_remove(&request->link);
    request->is_queued = false;
    admission->n_waiting--;
}

int http_admission_submit(struct http_admission *admission, struct http_request *request)
{
    struct http_transport *t = admission->transport;

    /* libcurl must not be called from within its own callbacks */
    if (t->n_calls == 0 && admission->n_waiting == 0 && is_admitted(admission, request))
        return start(t, request);
    if (admission->n_waiting >= QUEUED_MAX) /* more if some were queued again */
        return -EAGAIN;
    enqueue(admission, request);
    if (admission->n_waiting == 1)
        http_admission_schedule(admission);
    return 0;
}

static struct http_request *first_queued(struct http_admission *a)
{
    for (size_t i = 0; i < HTTP_PRIORITIES; i++)
        if (!list_is_empty(&a->queues[i]))
            return list_entry(a->queues[i].next, struct http_request, link);
    assert(a->n_waiting == 0);
    return NULL;
}

void http_admission_run(struct http_admission *admission)
{
    struct http_request *request;

    while ((request = first_queued(admission)) != NULL && is_admitted(admission, request)) {
        http_admission_remove(admission, request);
        if (start(admission->transport, request) < 0)
            http_admission_finish(admission, request, CURLE_OUT_OF_MEMORY);
    }
}

void http_admission_find_restarted(struct http_admission *admission)
{
    struct http_request *request, *tmp;

    list_for_each_safe (request, tmp, &admission->transport->sent, link)
        if (http_request_is_restarted(request))
            http_request_unsend(request);
}

/* Of requests that the server refuses again and again. */
static void fail_refused(struct http_admission *a, struct list *requests)
{
    /* a handler may free others of them */
    while (!list_is_empty(requests)) {
        struct http_request *request = list_entry(requests->next, struct http_request, link);

        list_remove(&request->link);
        snprintf(request->error_text, sizeof(request->error_text), "it refused %u attempts",
                 request->n_sent);
        http_admission_finish(a, request, CURLE_HTTP2_STREAM);
    }
}

void http_admission_requeue_unsent(struct http_admission *admission)
{
    struct http_transport *t = admission->transport;
    struct http_request *request, *tmp, *first = NULL;
    struct list refused = LIST_INIT(refused);

    /* what was not sent waits for a connection that is being opened */
    if (t->connections.is_serial || t->connection_opener != NULL ||
        http_connections_are_opening(&t->connections))
        return;
    list_for_each_safe (request, tmp, &t->unsent, link) {
        if (!request->was_run)
            continue;
        http_request_withdraw(request);
        if (!http_request_may_resend(request)) {
            list_append(&refused, &request->link);
            continue;
        }
        if (first == NULL)
            first = request;
        enqueue(admission, request);
    }
    if (first != NULL) {
        first->needs_connection = true;
        http_connections_reduce_streams_max(&t->connections);
        http_admission_schedule(admission);
    }
    fail_refused(admission, &refused);
}

void http_admission_finish(struct http_admission *admission, struct http_request *request,
                           CURLcode code)
{
    const struct http_connections *connections = &admission->transport->connections;
    bool was_answered = request->has_response;
    struct error error = ERROR_INIT;
    enum http_outcome outcome;

    if (http_request_is_resendable(request, code)) {
        http_request_withdraw(request);
        enqueue(admission, request);
        http_admission_schedule(admission);
        return;
    }
    outcome = http_request_end(request, code, &error);
    http_request_report(request, outcome, outcome == HTTP_COMPLETE ? NULL : &error);
    if (outcome == HTTP_COMPLETE || was_answered || connections->n_ready > 0 ||
        connections->is_serial)
        return;
    /* a handler may submit again, at the end of the queue: only those that wait now fail */
    for (size_t n = admission->n_waiting; n > 0 && (request = first_queued(admission)) != NULL;
         n--) {
        http_admission_remove(admission, request);
        http_request_report(request, outcome, &error);
    }
}
