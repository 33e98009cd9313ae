/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: from libcurl's callbacks to its end, and whether it is sent again.
 *
 * A request without a response is sent again at once, on another connection, SENDS_MAX times in
 * all:
 *
 *  - When the server refused it unprocessed (GOAWAY, REFUSED_STREAM), or ended a connection that
 *    had carried others, libcurl begins it again by itself (Curl_retry_request() in
 *    lib/transfer.c), and admission.c finds a connection for it if libcurl has none
 *    (http_request_is_restarted()).
 *  - libcurl does not do so when a connection breaks on its first request, or when GOAWAY refuses
 *    the last stream of a connection: it fails as if the connection had broken
 *    (http_request_is_resendable()). The server may have processed it, so this is for GETs, patches
 *    and what the caller calls repeatable; and only after it was sent on that connection, as a
 *    proxy without a server refuses each connection at once.
 *
 * libcurl's handle is made when the request is admitted, as many wait.
 */
#include "fetcher/http/request.h"

#include "base/log.h"
#include "fetcher/http/curl_quirks.h"
#include "fetcher/http/failure.h"
#include "fetcher/http/page_buffers.h"

/*
 * A request is refused if it crosses GOAWAY on its way. One that was refused goes first on a new
 * connection, and is served unless the server refuses each. Its caller tries later then.
 */
#define SENDS_MAX 4u

/* A longer Retry-After counts as this. */
#define RETRY_AFTER_MAX SPAN_SEC(300)
/* A response about one object delays the requests for all others by no more than this. */
#define PAUSE_MAX       SPAN_SEC(30)

/* ---- libcurl's callbacks */

struct http_request *http_request_check(void *userdata)
{
    struct http_request *request = userdata;

    assert(request->magic == HTTP_REQUEST_MAGIC);
    return request;
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

/* For traces: what follows the server's URL, which names objects. NULL if unknown. */
static const char *path_of(const struct http_request *request)
{
    const char *url = NULL;

    curl_easy_getinfo(request->easy, CURLINFO_EFFECTIVE_URL, &url);
    return url != NULL ? str_after(url, request->transport->base_url) : NULL;
}

/*
 * Another request may open a connection, or be sent on the opener's, when that has carried a
 * response, be it another request's. libcurl may send the opener on one that has carried some.
 */
static void forget_opener(struct http_transport *t)
{
    const struct http_request *opener = t->connection_opener;

    if (opener != NULL &&
        (opener->has_response || (opener->connection != NULL && opener->connection->is_ready)))
        t->connection_opener = NULL;
}

/* The head of a response is complete. */
static void request_on_response(struct http_request *request)
{
    struct http_transport *t = request->transport;
    struct http_response response = {.content_type = ""};
    long status = 0, version = 0;
    curl_off_t retry_after_sec = 0;
    char *content_type = NULL;

    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || request->has_response)
        return; /* an interim response, or trailers */
    curl_easy_getinfo(request->easy, CURLINFO_HTTP_VERSION, &version);
    curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_sec);
    curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response.status = (int)status;
    if (retry_after_sec > 0 && (span_us)retry_after_sec < RETRY_AFTER_MAX / SPAN_SEC(1))
        response.retry_after = SPAN_SEC(retry_after_sec);
    else if (retry_after_sec > 0)
        response.retry_after = RETRY_AFTER_MAX;
    if (content_type != NULL)
        response.content_type = content_type;

    assert(t->n_unanswered > 0);
    t->n_unanswered--;
    request->has_response = true;
    list_remove(&request->link);
    list_append(&t->answered, &request->link);
    http_connections_on_response(&t->connections, request->connection, version);
    forget_opener(t);
    if (response.retry_after > 0 && (status == 429 || status == 503))
        rate_limit_pause(&t->rate_limit, clock_mono(),
                         response.retry_after < PAUSE_MAX ? response.retry_after : PAUSE_MAX);
    t->stats.protocol = protocol_name(version);
    http_stats_count(&t->stats, response.status);
    log_trace(LOG_TRACE_HTTP, "response", "path", path_of(request), "status", LOG_NUM(status),
              "protocol", t->stats.protocol);
    request->handler->on_response(request->userdata, &response);
}

/* libcurl has a connection for it and sends it; again if that connection was dead. */
static int request_on_sent(void *userdata, char *address, char *local_address, int port,
                           int local_port)
{
    struct http_request *request = http_request_check(userdata);
    struct http_transport *t = request->transport;

    t->n_callbacks++;
    if (request->handler == NULL)
        return CURL_PREREQFUNC_ABORT;
    list_remove(&request->link);
    list_append(&t->sent, &request->link);
    if (request->n_sent++ == 0)
        request->sent_at = clock_mono();
    request->restarted_at = curl_quirks_restarted_at(request->easy);
    http_connection_release(request->connection);
    request->connection = http_connections_acquire(&t->connections, local_port);
    forget_opener(t);
    log_trace(LOG_TRACE_HTTP, "request sent", "path", path_of(request), "localPort",
              LOG_NUM(local_port));
    if (request->on_sent != NULL)
        request->on_sent(request->userdata);
    return request->handler != NULL ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t request_on_header(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = http_request_check(userdata);
    bool is_end = n > 0 && (bytes[0] == '\r' || bytes[0] == '\n');

    request->transport->n_callbacks++;
    if (request->handler != NULL && is_end)
        request_on_response(request);
    return request->handler != NULL ? size * n : 0; /* 0 ends the transfer of a freed request */
}

static size_t request_on_body(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = http_request_check(userdata);

    request->transport->n_callbacks++;
    if (request->handler != NULL)
        request->handler->on_body(request->userdata, bytes, size * n);
    /* libcurl's own buffer, whose content it does not need any more (docs/internals/memory.md) */
    page_buffers_wipe(bytes, size * n);
    return request->handler != NULL ? size * n : CURL_WRITEFUNC_ERROR;
}

/* ---- the end of a request */

void http_request_withdraw(struct http_request *request)
{
    struct http_transport *t = request->transport;

    if (!request->is_added)
        return;
    curl_multi_remove_handle(t->multi, request->easy);
    list_remove(&request->link);
    request->is_added = false;
    request->was_run = false;
    request->connection = http_connection_release(request->connection);
    assert(t->n_active > 0);
    t->n_active--;
    if (!request->has_response)
        t->n_unanswered--;
    assert(t->n_unanswered <= t->n_active);
    if (t->connection_opener == request)
        t->connection_opener = NULL;
}

bool http_request_is_restarted(const struct http_request *request)
{
    return curl_quirks_restarted_at(request->easy) != request->restarted_at;
}

void http_request_unsend(struct http_request *request)
{
    struct http_transport *t = request->transport;

    list_remove(&request->link);
    list_append(&t->unsent, &request->link);
    request->was_run = true;
    request->connection = http_connection_release(request->connection);
    if (t->connection_opener == request)
        t->connection_opener = NULL;
}

bool http_request_may_resend(const struct http_request *request)
{
    return request->n_sent < SENDS_MAX;
}

bool http_request_is_resendable(const struct http_request *request, CURLcode code)
{
    switch (code) {
    case CURLE_HTTP2:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return request->handler != NULL && request->connection != NULL && !request->has_response &&
               http_message_is_repeatable(&request->message) && http_request_may_resend(request);
    default: /* CURLE_HTTP2_STREAM, too: the server ended the stream with an error */
        return false;
    }
}

/* Another request on the same connection. Return: its handle; NULL: none is known. */
static CURL *find_neighbour(const struct http_request *request, const struct list *requests)
{
    const struct http_request *other;

    if (request->connection == NULL)
        return NULL;
    list_for_each (other, requests, link)
        if (other != request && other->connection == request->connection)
            return other->easy;
    return NULL;
}

static void cancel(struct http_request *request)
{
    CURL *neighbour = find_neighbour(request, &request->transport->answered);

    if (neighbour == NULL)
        neighbour = find_neighbour(request, &request->transport->sent);
    curl_quirks_cancel(request->easy);
    http_request_withdraw(request);
    if (neighbour != NULL)
        curl_quirks_flush(neighbour);
}

struct http_request *http_request_destroy(struct http_request *request)
{
    if (request == NULL)
        return NULL;
    assert(!request->is_queued);
    if (request->is_added)
        cancel(request);
    list_remove(&request->link);
    curl_easy_cleanup(request->easy);
    http_message_deinit(&request->message);
    request->magic = 0;
    free(request);
    return NULL;
}

/* libcurl ended it with @code. @ret_error: empty for HTTP_COMPLETE */
static enum http_outcome explain(const struct http_request *request, CURLcode code,
                                 struct error *ret_error)
{
    struct http_failure failure = {
        .config = request->transport->config,
        .code = code,
        .text = request->error_text,
        .has_response = request->has_response,
    };

    if (code == CURLE_OK)
        return HTTP_COMPLETE;
    if (request->easy != NULL)
        curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &failure.os_error);
    http_failure_explain(&failure, ret_error);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return HTTP_TIMED_OUT;
    return code == CURLE_COULDNT_CONNECT && failure.os_error == ECONNREFUSED ? HTTP_REFUSED
                                                                             : HTTP_FAILED;
}

enum http_outcome http_request_end(struct http_request *request, CURLcode code,
                                   struct error *ret_error)
{
    struct http_transport *t = request->transport;
    enum http_outcome outcome = explain(request, code, ret_error);

    if (request->easy != NULL)
        log_trace(LOG_TRACE_HTTP, "request ended", "path", path_of(request), "error",
                  code != CURLE_OK ? curl_easy_strerror(code) : NULL);
    http_request_withdraw(request);
    if (!request->has_response) {
        http_stats_count(&t->stats, 0);
        http_connections_drop_lost(&t->connections);
    }
    return outcome;
}

void http_request_report(struct http_request *request, enum http_outcome outcome,
                         const struct error *error)
{
    const struct http_handler *handler = request->handler;

    request->handler = NULL;
    if (handler != NULL)
        handler->on_done(request->userdata, outcome, error);
}

/* ---- the start of a request */

static void set_callbacks(struct http_request *request)
{
    CURL *easy = request->easy;

    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, request_on_sent);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, request_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, request_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
}

/* Make libcurl's handle. Return: 0; -ENOMEM. */
static int request_prepare(struct http_request *request)
{
    request->easy = curl_easy_init();
    if (request->easy == NULL ||
        http_message_prepare(&request->message, request->easy, request->transport) < 0)
        return -ENOMEM;
    set_callbacks(request);
    return 0;
}

/* libcurl counts from the start; a request that is sent again has what is left. */
static void set_total_limit(const struct http_request *request)
{
    span_us past = request->n_sent > 0 ? clock_mono() - request->sent_at : 0;
    span_us left = past < request->total_limit ? request->total_limit - past : 0;

    /* 0 would mean no limit */
    curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, (long)(left / SPAN_MS(1)) + 1);
}

int http_request_start(struct http_request *request)
{
    struct http_transport *t = request->transport;
    int r = request->easy == NULL ? request_prepare(request) : 0;
    CURLMcode code;

    assert(!request->is_queued && !request->is_added);
    if (r < 0)
        return r;
    set_total_limit(request);
    t->n_calls++;
    code = curl_multi_add_handle(t->multi, request->easy);
    t->n_calls--;
    if (code != CURLM_OK)
        return -ENOMEM;
    request->is_added = true;
    list_remove(&request->link);
    list_append(&t->unsent, &request->link);
    t->n_active++;
    t->n_unanswered++;
    return 0;
}

struct http_request *http_request_new(struct http_transport *transport,
                                      const struct http_call *call,
                                      const struct http_handler *handler, void *userdata)
{
    struct http_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        return NULL;
    request->magic = HTTP_REQUEST_MAGIC;
    request->transport = transport;
    list_init(&request->link);
    request->handler = handler;
    request->userdata = userdata;
    request->total_limit = call->total_limit;
    request->is_watch = call->is_watch;
    request->on_sent = call->on_sent;
    if (http_message_init(&request->message, transport, call) < 0)
        return http_request_destroy(request);
    return request;
}
