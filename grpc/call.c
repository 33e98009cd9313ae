/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     AWAITING_HEADERS --> AWAITING_MESSAGE --> AWAITING_ANSWER --> AWAITING_CLOSE --> freed
 *            |                    |                                     ^
 *            +--------------------+-- refused, or too slow -------------+
 *
 * A call promises its service that each request is complete, within the limits and answered once,
 * and its client that it gets one answer. nghttp2 closes the stream, and so frees the call.
 *
 * One timer serves all states. It bounds
 *
 *  - how long the request may take to arrive. A client that is slow to send its message loses the
 *    call; one that is slow to send headers loses the connection, as nothing else can be received
 *    on it in the middle of a block of headers;
 *  - while a method works, the caller's own deadline (grpc-timeout), if there is one. The client is
 *    answered first and the service notified then, as it must not answer any more;
 *  - how long the client may take to accept the response. It could keep its flow control window
 *    closed and hold the connection for ever; it loses the connection.
 *
 * A response without a message consists of headers alone ("trailers-only"): grpc-status, and a
 * percent-encoded grpc-message. It may be given before the request has ended, when that is too
 * large, for instance. The client is stopped by a reset of the stream then, which must not overtake
 * the response; so the connection resets it, once the headers are sent.
 *
 * Where the numbers come from. The kubelet opens a connection for each call (R12) and has as many
 * at a time as pods are being started or stopped: 110 pods is its limit unless set otherwise, large
 * nodes are known to have 500, each with few volumes; while an API server is away each of their
 * calls takes two minutes. 1024 covers that. Requests are some KiB large: 16 MiB are some thousand
 * of them, or four of the largest kind.
 */
#include "grpc/call.h"

#include <stdio.h>

#include "base/log.h"

#define CALL_MAGIC     0x63616c6cu
#define TIMER_ACCURACY SPAN_MS(10)

const struct grpc_limits grpc_limits_default = {
    .connections = 1024,
    .streams = 32,
    .received_bytes = 16u << 20,
    .receive = SPAN_SEC(20),
    .send = SPAN_SEC(20),
    .idle = SPAN_SEC(300),
};

static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} states[] = {
    [GRPC_CALL_AWAITING_HEADERS] = {"awaiting-headers", 1u << GRPC_CALL_AWAITING_MESSAGE |
                                                            1u << GRPC_CALL_AWAITING_CLOSE},
    [GRPC_CALL_AWAITING_MESSAGE] = {"awaiting-message", 1u << GRPC_CALL_AWAITING_ANSWER |
                                                            1u << GRPC_CALL_AWAITING_CLOSE},
    [GRPC_CALL_AWAITING_ANSWER] = {"awaiting-answer", 1u << GRPC_CALL_AWAITING_CLOSE},
    [GRPC_CALL_AWAITING_CLOSE] = {"awaiting-close", 0},
};

static const char *method_name(const struct grpc_call *call)
{
    return call->method != NULL ? call->method->name : NULL;
}

static void call_move(struct grpc_call *call, enum grpc_call_state state)
{
    log_trace(LOG_TRACE_GRPC, "call changes state", "method", method_name(call), "from",
              states[call->state].name, "to", states[state].name);
    assert((states[call->state].next & 1u << state) != 0);
    call->state = state;
}

static int on_timer(sd_event_source *source, uint64_t now, void *userdata);

/* Have the timer fire in @span; SPAN_FOREVER: never. */
static int set_timer(struct grpc_call *call, span_us span)
{
    int r;

    if (span == SPAN_FOREVER)
        return call->timer == NULL ? 0 : sd_event_source_set_enabled(call->timer, SD_EVENT_OFF);
    if (call->timer == NULL)
        return sd_event_add_time_relative(call->common->event, &call->timer, CLOCK_MONOTONIC, span,
                                          TIMER_ACCURACY, on_timer, call);
    r = sd_event_source_set_time_relative(call->timer, span);
    return r < 0 ? r : sd_event_source_set_enabled(call->timer, SD_EVENT_ONESHOT);
}

static void drop_request(struct grpc_call *call)
{
    assert(call->received_bytes <= call->common->received_bytes);
    grpc_reader_deinit(&call->reader);
    call->common->received_bytes -= call->received_bytes;
    call->received_bytes = 0;
}

/* ---- answering */

#define NV(name_, value_, len_)                                                                    \
    (nghttp2_nv)                                                                                   \
    {                                                                                              \
        .name = (uint8_t *)(uintptr_t)(name_), .namelen = strlen(name_),                           \
        .value = (uint8_t *)(uintptr_t)(value_), .valuelen = (len_)                                \
    }
#define NV_TEXT(name_, value_) NV(name_, value_, strlen(value_))

#define RESPONSE_HEADERS                                                                           \
    NV_TEXT(":status", "200"), NV_TEXT("content-type", "application/grpc"),                        \
        NV_TEXT("grpc-accept-encoding", "identity")

/* The body of a response, in as many pieces as the client's window asks for, then the trailers. */
static ssize_t read_response(nghttp2_session *session, int32_t stream_id, uint8_t *bytes,
                             size_t max, uint32_t *flags, nghttp2_data_source *source,
                             void *userdata)
{
    const nghttp2_nv trailers[] = {NV_TEXT("grpc-status", "0")};
    struct grpc_call *call = source->ptr;
    size_t n = size_min(max, call->response.len - call->n_sent);

    assert(call->magic == CALL_MAGIC && call->state == GRPC_CALL_AWAITING_CLOSE);
    assert(call->n_sent <= call->response.len);
    memcpy(bytes, call->response.data + call->n_sent, n);
    call->n_sent += n;
    if (call->n_sent < call->response.len)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream_id, trailers, ELEMENTS_OF(trailers)) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return (ssize_t)n;
}

static void report_answer(const struct grpc_call *call, enum grpc_code code)
{
    if (call->common->answered != NULL && call->method != NULL)
        call->common->answered(call->common->userdata, call->method->name, code,
                               clock_mono() - call->began_at);
}

/* The call ends for the service. @r: whether nghttp2 accepted the response. */
static void call_end(struct grpc_call *call, enum grpc_code code, int r)
{
    call_move(call, GRPC_CALL_AWAITING_CLOSE);
    call->cancelled = NULL;
    drop_request(call);
    if (set_timer(call, call->common->limits.send) < 0 || r < 0)
        call->transport->abort(call->transport); /* no memory for an error response either */
    else
        call->transport->wake(call->transport);
    report_answer(call, code);
}

void grpc_call_reply(struct grpc_call *call, const uint8_t *message, size_t len)
{
    const nghttp2_nv headers[] = {RESPONSE_HEADERS};
    const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_response};
    uint8_t head[GRPC_HEAD_BYTES];
    int r;

    assert(call->magic == CALL_MAGIC && call->state == GRPC_CALL_AWAITING_ANSWER);
    grpc_head_write(head, len);
    r = buf_add(&call->response, head, sizeof(head));
    if (r == 0)
        r = buf_add(&call->response, message, len);
    if (r < 0) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for the response");
        return;
    }
    r = nghttp2_submit_response(call->transport->session, call->stream_id, headers,
                                ELEMENTS_OF(headers), &provider);
    call_end(call, GRPC_OK, r);
}

void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *text)
{
    _cleanup_(buf_deinit) struct buf message = BUF_INIT(GRPC_TEXT_ENCODED_MAX);
    char status[16];
    int r;

    assert(call->magic == CALL_MAGIC && code != GRPC_OK);
    snprintf(status, sizeof(status), "%d", code);
    r = grpc_text_encode(text, &message);
    if (r == 0) {
        const nghttp2_nv headers[] = {
            RESPONSE_HEADERS,
            NV_TEXT("grpc-status", status),
            NV("grpc-message", buf_text(&message), message.len),
        };

        r = nghttp2_submit_response(call->transport->session, call->stream_id, headers,
                                    ELEMENTS_OF(headers), NULL);
    }
    log_debug("call failed", "method", method_name(call), "code", grpc_code_name(code), "error",
              text);
    call_end(call, code, r);
}

/* To a client that speaks HTTP/2 but not gRPC. */
static void answer_http(struct grpc_call *call, unsigned http_status)
{
    char status[16];
    int r;

    snprintf(status, sizeof(status), "%u", http_status);
    {
        const nghttp2_nv headers[] = {NV_TEXT(":status", status)};

        r = nghttp2_submit_response(call->transport->session, call->stream_id, headers,
                                    ELEMENTS_OF(headers), NULL);
    }
    call_end(call, GRPC_UNKNOWN, r);
}

/* ---- time */

static int on_timer(sd_event_source *source, uint64_t now, void *userdata)
{
    struct grpc_call *call = userdata;
    grpc_cancelled_fn *cancelled = call->cancelled;
    void *cancelled_userdata = call->cancelled_userdata;

    assert(call->magic == CALL_MAGIC);
    switch (call->state) {
    case GRPC_CALL_AWAITING_HEADERS:
        call->transport->abort(call->transport);
        break;
    case GRPC_CALL_AWAITING_MESSAGE:
        grpc_call_fail(call, GRPC_DEADLINE_EXCEEDED, "the request did not arrive in time");
        break;
    case GRPC_CALL_AWAITING_ANSWER:
        grpc_call_fail(call, GRPC_DEADLINE_EXCEEDED, "the deadline of the call has passed");
        if (cancelled != NULL)
            cancelled(cancelled_userdata);
        break;
    case GRPC_CALL_AWAITING_CLOSE:
        call->transport->abort(call->transport);
        break;
    }
    return 0;
}

/* ---- receiving */

int grpc_call_new(struct grpc_common *common, struct grpc_transport *transport, int32_t stream_id,
                  struct grpc_call **ret_call)
{
    struct grpc_call *call = calloc(1, sizeof(*call));
    int r;

    if (call == NULL)
        return -ENOMEM;
    call->magic = CALL_MAGIC;
    call->transport = transport;
    call->common = common;
    call->stream_id = stream_id;
    call->began_at = clock_mono();
    call->response = BUF_INIT(GRPC_HEAD_BYTES + GRPC_MESSAGE_MAX_BYTES);
    list_init(&call->link);
    grpc_headers_init(&call->headers);
    grpc_reader_init(&call->reader);
    r = set_timer(call, common->limits.receive);
    if (r < 0) {
        grpc_call_free(call);
        return r;
    }
    *ret_call = call;
    return 0;
}

struct grpc_call *grpc_call_free(struct grpc_call *call)
{
    if (call == NULL)
        return NULL;
    assert(call->magic == CALL_MAGIC);
    list_remove(&call->link);
    call->timer = sd_event_source_disable_unref(call->timer);
    drop_request(call);
    if (call->state == GRPC_CALL_AWAITING_ANSWER) {
        report_answer(call, GRPC_CANCELLED);
        if (call->cancelled != NULL)
            call->cancelled(call->cancelled_userdata);
    }
    buf_deinit(&call->response);
    call->magic = 0;
    free(call);
    return NULL;
}

void grpc_call_set_on_cancel(struct grpc_call *call, grpc_cancelled_fn *cancelled, void *userdata)
{
    assert(call->magic == CALL_MAGIC && call->state == GRPC_CALL_AWAITING_ANSWER);
    call->cancelled = cancelled;
    call->cancelled_userdata = userdata;
}

static const struct grpc_method *find_method(const struct grpc_common *common, const char *path)
{
    for (size_t i = 0; i < common->n_methods; i++)
        if (streq(common->methods[i].path, path))
            return &common->methods[i];
    return NULL;
}

/* The headers are valid. */
static void call_begin(struct grpc_call *call)
{
    char text[GRPC_PATH_MAX + 64];

    call->method = find_method(call->common, call->headers.path);
    if (call->method == NULL) {
        snprintf(text, sizeof(text), "unknown method %s", call->headers.path);
        grpc_call_fail(call, GRPC_UNIMPLEMENTED, text);
        return;
    }
    call_move(call, GRPC_CALL_AWAITING_MESSAGE);
    /* a later deadline is set when the request has arrived */
    if (call->headers.timeout < call->common->limits.receive &&
        set_timer(call, call->headers.timeout) < 0)
        call->transport->abort(call->transport);
}

void grpc_call_on_headers(struct grpc_call *call)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    unsigned http_status = 0;
    int r;

    if (call->state != GRPC_CALL_AWAITING_HEADERS)
        return; /* the timer has ended the call */
    switch (grpc_headers_check(&call->headers, &http_status, &code, &e)) {
    case GRPC_HEADERS_VALID:
        call_begin(call);
        break;
    case GRPC_HEADERS_MALFORMED:
        r = nghttp2_submit_rst_stream(call->transport->session, NGHTTP2_FLAG_NONE, call->stream_id,
                                      NGHTTP2_PROTOCOL_ERROR);
        call_end(call, GRPC_UNKNOWN, r);
        break;
    case GRPC_HEADERS_NOT_GRPC:
        answer_http(call, http_status);
        break;
    case GRPC_HEADERS_REFUSED:
        grpc_call_fail(call, code, e.text);
        break;
    }
}

void grpc_call_on_data(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct error e = ERROR_INIT;
    enum grpc_code code;

    if (call->state != GRPC_CALL_AWAITING_MESSAGE)
        return; /* answered: the rest of the request is ignored */
    assert(call->common->received_bytes <= call->common->limits.received_bytes);
    if (len > call->common->limits.received_bytes - call->common->received_bytes) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED,
                       "too many requests are being received: try again");
        return;
    }
    call->received_bytes += len;
    call->common->received_bytes += len;
    code = grpc_reader_add(&call->reader, bytes, len, &e);
    if (code != GRPC_OK)
        grpc_call_fail(call, code, e.text);
}

/* How long until the caller's deadline. */
static span_us call_time_left(const struct grpc_call *call)
{
    span_us taken = clock_mono() - call->began_at;

    if (call->headers.timeout == SPAN_FOREVER)
        return SPAN_FOREVER;
    return call->headers.timeout > taken ? call->headers.timeout - taken : 0;
}

void grpc_call_on_end(struct grpc_call *call)
{
    struct error e = ERROR_INIT;
    enum grpc_code code;

    call->is_request_complete = true;
    if (call->state != GRPC_CALL_AWAITING_MESSAGE)
        return;
    code = grpc_reader_end(&call->reader, &e);
    if (code == GRPC_OK && set_timer(call, call_time_left(call)) < 0) {
        error_set_errno(&e, -ENOMEM, "cannot set a timer");
        code = GRPC_RESOURCE_EXHAUSTED;
    }
    if (code != GRPC_OK) {
        grpc_call_fail(call, code, e.text);
        return;
    }
    call_move(call, GRPC_CALL_AWAITING_ANSWER);
    call->method->call(call->common->userdata, call,
                       (const uint8_t *)buf_text(&call->reader.message), call->reader.message.len);
    drop_request(call);
}
