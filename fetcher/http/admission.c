/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests libcurl is given, and when. A request waits
 *
 *  - while the server asked for a rest (Retry-After), and for its turn in the pace of all requests;
 *  - while UNANSWERED_MAX others have no answer yet, so that a slow server is not given more work;
 *  - while the connections are full. libcurl shares the first connection as it should
 *    (CURLOPT_PIPEWAIT), but when the open ones are full it opens one for every further request
 *    instead of one for all of them. So one request, the pioneer, goes ahead, and the others wait
 *    until it has its answer and with it a connection that they can share.
 *
 * Lists and calls of other kinds, which somebody waits for, go before watches, which are only for
 * what may happen later.
 *
 * When the pioneer cannot reach the server and no connection is left, all that wait share its fate:
 * they would find out the same one after the other, each perhaps after a timeout of its own. They
 * are tried again by those who sent them, spread over the time as their back-offs are.
 */
#include "fetcher/http/admission.h"

#include "fetcher/http/connections.h"

/* A server that answers within 10 ms gets 6,400 requests a second from these. */
#define UNANSWERED_MAX 64u
/* Each key has one request at a time, and the node daemon is made for 5,000 keys. */
#define QUEUED_MAX     16384u

void http_admission_wake(struct http_client *client)
{
    if (client->stats.n_waiting == 0)
        return;
    /* neither can fail for a source that exists */
    sd_event_source_set_time(client->admit, 0);
    sd_event_source_set_enabled(client->admit, SD_EVENT_ONESHOT);
}

static void wake_after(struct http_client *client, span_us wait)
{
    sd_event_source_set_time(client->admit, clock_mono() + wait);
    sd_event_source_set_enabled(client->admit, SD_EVENT_ONESHOT);
}

/* Whether it is the request's turn. */
static bool is_admitted(struct http_client *client, struct http_request *request)
{
    bool is_pioneer = request->needs_connection || !http_connections_have_room(client);
    span_us wait;

    if (client->n_unanswered >= UNANSWERED_MAX || (is_pioneer && client->pioneer != NULL))
        return false; /* an answer or an end comes first, which looks again */
    wait = request->is_paid ? 0 : pace_take(&client->pace, clock_mono());
    if (wait > 0) {
        wake_after(client, wait);
        return false;
    }
    request->is_paid = true;
    request->needs_connection = false;
    if (is_pioneer)
        client->pioneer = request;
    return true;
}

/* libcurl is to open no connection that was not decided on here; see http_connections.c. */
static void limit_connections(struct http_client *client)
{
    long n = (long)client->stats.connections + (client->pioneer != NULL ? 1 : 0);

    curl_multi_setopt(client->multi, CURLMOPT_MAX_HOST_CONNECTIONS, client->is_serial ? 0L : n);
}

static int start(struct http_client *client, struct http_request *request)
{
    int r;

    limit_connections(client);
    r = http_request_start(request);
    if (r < 0 && client->pioneer == request)
        client->pioneer = NULL;
    return r;
}

static void enqueue(struct http_request *request)
{
    struct http_client *client = request->client;

    list_append(&client->queues[request->is_watch ? HTTP_QUEUE_PATIENT : HTTP_QUEUE_EAGER],
                &request->link);
    request->is_queued = true;
    client->stats.n_waiting++;
}

void http_admission_leave(struct http_request *request)
{
    if (!request->is_queued)
        return;
    list_remove(&request->link);
    request->is_queued = false;
    request->client->stats.n_waiting--;
}

int http_admission_add(struct http_request *request)
{
    struct http_client *client = request->client;

    /* libcurl must not be called from within its own callbacks */
    if (client->n_calls == 0 && client->stats.n_waiting == 0 && is_admitted(client, request))
        return start(client, request);
    if (client->stats.n_waiting == QUEUED_MAX)
        return -EAGAIN;
    enqueue(request);
    if (client->stats.n_waiting == 1)
        http_admission_wake(client);
    return 0;
}

static struct http_request *first_queued(struct http_client *client)
{
    for (size_t i = 0; i < HTTP_QUEUES; i++)
        if (!list_is_empty(&client->queues[i]))
            return list_entry(client->queues[i].next, struct http_request, link);
    return NULL;
}

void http_admission_admit(struct http_client *client)
{
    struct http_request *request;

    while ((request = first_queued(client)) != NULL && is_admitted(client, request)) {
        http_admission_leave(request);
        if (start(client, request) < 0)
            http_request_finish(request, CURLE_OUT_OF_MEMORY);
    }
}

void http_admission_take_back(struct http_client *client)
{
    struct http_request *request, *tmp, *first = NULL;

    if (client->is_serial || client->pioneer != NULL || http_connections_are_coming(client))
        return; /* what was not sent waits for a connection that is being made */
    list_for_each_safe (request, tmp, &client->unsent, link) {
        if (!request->was_run)
            continue;
        if (first == NULL)
            first = request;
        http_request_withdraw(request);
        enqueue(request);
    }
    if (first == NULL)
        return;
    first->needs_connection = true;
    http_connections_learn(client);
    http_admission_wake(client);
}

void http_admission_fail(struct http_client *client, enum http_outcome outcome,
                         const struct error *error)
{
    struct http_request *request;

    /* whoever is told may send again, which comes to the end of the queue */
    for (size_t n = client->stats.n_waiting; n > 0 && (request = first_queued(client)) != NULL;
         n--) {
        http_admission_leave(request);
        http_request_report(request, outcome, error);
    }
}
