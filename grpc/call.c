/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     HEADERS --> BODY --> WORKING --> ANSWERED --> (stream closed, call freed)
 *        |         |                    ^  ^
 *        |         +--------------------+  |
 *        +------------- refused -----------+
 *
 * One timer serves all states. While the request comes in it bounds how long that may take; while a
 * method works it is the caller's own deadline, if the caller gave one; and when the call is
 * answered it bounds how long the client may take to accept the answer: it can open its flow
 * control window by not a single byte, and would hold the connection for ever. A client that is
 * slow to send its message costs itself the call; one that is slow to send headers, or to accept
 * the answer, the connection.
 *
 * An answer without a message consists of headers alone ("trailers-only"). It may be given before
 * the request has ended, when that is too large, say. The client is stopped by a reset of the
 * stream then, which must not overtake the answer; so the connection does it, once the headers are
 * sent.
 *
 * The numbers. The kubelet opens a connection for each call (R12) and has as many at a time as pods
 * are being started or stopped: 110 pods is its limit unless set otherwise, 500 is what is known
 * from large nodes, each with few volumes; while an API server is away each of their calls stays
 * for two minutes. 1024 covers that. Requests are some KiB large, 16 MiB are some thousand of them
 * or four of the largest kind.
 */
#include "grpc/call.h"

#include <stdio.h>

#include "base/log.h"
#include "grpc/connection.h"

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

static const char *const state_names[] = {
    [GRPC_CALL_HEADERS] = "headers",
    [GRPC_CALL_BODY] = "body",
    [GRPC_CALL_WORKING] = "working",
    [GRPC_CALL_ANSWERED] = "answered",
};

static const unsigned next_states[] = {
    [GRPC_CALL_HEADERS] = 1u << GRPC_CALL_BODY | 1u << GRPC_CALL_ANSWERED,
    [GRPC_CALL_BODY] = 1u << GRPC_CALL_WORKING | 1u << GRPC_CALL_ANSWERED,
    [GRPC_CALL_WORKING] = 1u << GRPC_CALL_ANSWERED,
    [GRPC_CALL_ANSWERED] = 0,
};

static const char *method_name(const struct grpc_call *call)
{
    return call->method != NULL ? call->method->name : NULL;
}

static void call_move(struct grpc_call *call, enum grpc_call_state state)
{
    log_trace(LOG_TRACE_GRPC, "call changes state", "method", method_name(call), "from",
              state_names[call->state], "to", state_names[state]);
    assert((next_states[call->state] & 1u << state) != 0);
    call->state = state;
}

static int on_time(sd_event_source *source, uint64_t now, void *userdata);

/* Let the timer fire in @span; SPAN_FOREVER: not at all. */
static int set_timer(struct grpc_call *call, span_us span)
{
    int r;

    if (span == SPAN_FOREVER)
        return call->timer == NULL ? 0 : sd_event_source_set_enabled(call->timer, SD_EVENT_OFF);
    if (call->timer == NULL)
        return sd_event_add_time_relative(call->common->event, &call->timer, CLOCK_MONOTONIC, span,
                                          TIMER_ACCURACY, on_time, call);
    r = sd_event_source_set_time_relative(call->timer, span);
    return r < 0 ? r : sd_event_source_set_enabled(call->timer, SD_EVENT_ONESHOT);
}

static void forget_request(struct grpc_call *call)
{
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

#define ANSWER_HEADERS                                                                             \
    NV_TEXT(":status", "200"), NV_TEXT("content-type", "application/grpc"),                        \
        NV_TEXT("grpc-accept-encoding", "identity")

/* The body of an answer, in as many pieces as the client's window asks for, then the trailers. */
static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t max,
                           uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
    const nghttp2_nv trailers[] = {NV_TEXT("grpc-status", "0")};
    struct grpc_call *call = source->ptr;
    size_t n = size_min(max, call->answer.len - call->n_sent);

    assert(call->magic == CALL_MAGIC);
    memcpy(bytes, call->answer.data + call->n_sent, n);
    call->n_sent += n;
    if (call->n_sent < call->answer.len)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream_id, trailers, ELEMENTS_OF(trailers)) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return (ssize_t)n;
}

/* The call is over for the service; @r: whether the answer could be submitted. */
static void call_end(struct grpc_call *call, enum grpc_code code, int r)
{
    call_move(call, GRPC_CALL_ANSWERED);
    call->cancelled = NULL;
    forget_request(call);
    if (set_timer(call, call->common->limits.send) < 0 || r < 0)
        grpc_connection_break(call->connection); /* no memory even to say so */
    else
        grpc_connection_wake(call->connection);
    if (call->common->answered != NULL && call->method != NULL)
        call->common->answered(call->common->userdata, call->method->name, code,
                               clock_mono() - call->began_at);
}

void grpc_call_reply(struct grpc_call *call, const uint8_t *message, size_t len)
{
    const nghttp2_nv headers[] = {ANSWER_HEADERS};
    const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_answer};
    uint8_t head[GRPC_HEAD_BYTES];
    int r;

    assert(call->magic == CALL_MAGIC && call->state == GRPC_CALL_WORKING);
    grpc_head_write(head, len);
    r = buf_add(&call->answer, head, sizeof(head));
    if (r == 0)
        r = buf_add(&call->answer, message, len);
    if (r < 0) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    r = nghttp2_submit_response(grpc_connection_session(call->connection), call->stream_id, headers,
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
            ANSWER_HEADERS,
            NV_TEXT("grpc-status", status),
            NV("grpc-message", buf_text(&message), message.len),
        };

        r = nghttp2_submit_response(grpc_connection_session(call->connection), call->stream_id,
                                    headers, ELEMENTS_OF(headers), NULL);
    }
    log_debug("call failed", "method", method_name(call), "code", grpc_code_name(code), "error",
              text);
    call_end(call, code, r);
}

/* To who speaks no gRPC. */
static void answer_http(struct grpc_call *call, unsigned http_status)
{
    char status[16];
    int r;

    snprintf(status, sizeof(status), "%u", http_status);
    {
        const nghttp2_nv headers[] = {NV_TEXT(":status", status)};

        r = nghttp2_submit_response(grpc_connection_session(call->connection), call->stream_id,
                                    headers, ELEMENTS_OF(headers), NULL);
    }
    call_end(call, GRPC_UNKNOWN, r);
}

static void answer_reset(struct grpc_call *call)
{
    int r = nghttp2_submit_rst_stream(grpc_connection_session(call->connection), NGHTTP2_FLAG_NONE,
                                      call->stream_id, NGHTTP2_PROTOCOL_ERROR);

    call_end(call, GRPC_UNKNOWN, r);
}

/* ---- time */

/* The caller's deadline is over: it is answered first, as the service may not answer any more. */
static void call_expire(struct grpc_call *call)
{
    grpc_cancelled_fn *cancelled = call->cancelled;
    void *userdata = call->cancelled_userdata;

    grpc_call_fail(call, GRPC_DEADLINE_EXCEEDED, "the time that the caller gave is over");
    if (cancelled != NULL)
        cancelled(userdata);
}

static int on_time(sd_event_source *source, uint64_t now, void *userdata)
{
    struct grpc_call *call = userdata;

    assert(call->magic == CALL_MAGIC);
    switch (call->state) {
    case GRPC_CALL_HEADERS:
        /* amid a block of headers, nothing else can be taken from this connection */
        grpc_connection_break(call->connection);
        break;
    case GRPC_CALL_BODY:
        grpc_call_fail(call, GRPC_DEADLINE_EXCEEDED, "the request did not arrive in time");
        break;
    case GRPC_CALL_WORKING:
        call_expire(call);
        break;
    case GRPC_CALL_ANSWERED:
        grpc_connection_break(call->connection);
        break;
    }
    return 0;
}

/* ---- what comes in */

int grpc_call_new(struct grpc_common *common, struct grpc_connection *connection, int32_t stream_id,
                  struct grpc_call **ret_call)
{
    struct grpc_call *call = calloc(1, sizeof(*call));
    int r;

    if (call == NULL)
        return -ENOMEM;
    call->magic = CALL_MAGIC;
    call->connection = connection;
    call->common = common;
    call->stream_id = stream_id;
    call->began_at = clock_mono();
    call->answer = BUF_INIT(GRPC_HEAD_BYTES + GRPC_MESSAGE_MAX_BYTES);
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
    list_remove(&call->link);
    call->timer = sd_event_source_disable_unref(call->timer);
    forget_request(call);
    if (call->state == GRPC_CALL_WORKING) {
        if (call->common->answered != NULL)
            call->common->answered(call->common->userdata, call->method->name, GRPC_CANCELLED,
                                   clock_mono() - call->began_at);
        if (call->cancelled != NULL)
            call->cancelled(call->cancelled_userdata);
    }
    buf_deinit(&call->answer);
    call->magic = 0;
    free(call);
    return NULL;
}

void grpc_call_on_cancel(struct grpc_call *call, grpc_cancelled_fn *cancelled, void *userdata)
{
    assert(call->magic == CALL_MAGIC && call->state == GRPC_CALL_WORKING);
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

/* The headers are good. */
static void call_begin(struct grpc_call *call)
{
    char text[GRPC_PATH_MAX + 64];

    call->method = find_method(call->common, call->headers.path);
    if (call->method == NULL) {
        snprintf(text, sizeof(text), "there is no method %s here", call->headers.path);
        grpc_call_fail(call, GRPC_UNIMPLEMENTED, text);
        return;
    }
    call_move(call, GRPC_CALL_BODY);
    /* before that the timer has the limit of receiving, which is short enough */
    if (call->headers.timeout < call->common->limits.receive &&
        set_timer(call, call->headers.timeout) < 0)
        grpc_connection_break(call->connection);
}

void grpc_call_take_headers(struct grpc_call *call)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    unsigned http_status = 0;

    if (call->state != GRPC_CALL_HEADERS)
        return; /* too late */
    switch (grpc_headers_check(&call->headers, &http_status, &code, &e)) {
    case GRPC_HEADERS_GOOD:
        call_begin(call);
        break;
    case GRPC_HEADERS_MALFORMED:
        answer_reset(call);
        break;
    case GRPC_HEADERS_NO_GRPC:
        answer_http(call, http_status);
        break;
    case GRPC_HEADERS_REFUSED:
        grpc_call_fail(call, code, e.text);
        break;
    }
}

void grpc_call_take_data(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct error e = ERROR_INIT;
    enum grpc_code code;

    if (call->state != GRPC_CALL_BODY)
        return; /* it is answered; what still comes is nothing to anybody */
    if (len > call->common->limits.received_bytes - call->common->received_bytes) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "too many requests are coming in: try again");
        return;
    }
    call->received_bytes += len;
    call->common->received_bytes += len;
    code = grpc_reader_add(&call->reader, bytes, len, &e);
    if (code != GRPC_OK)
        grpc_call_fail(call, code, e.text);
}

/* What is left of the caller's time. */
static span_us call_time_left(const struct grpc_call *call)
{
    span_us taken = clock_mono() - call->began_at;

    if (call->headers.timeout == SPAN_FOREVER)
        return SPAN_FOREVER;
    return call->headers.timeout > taken ? call->headers.timeout - taken : 0;
}

void grpc_call_take_end(struct grpc_call *call)
{
    struct error e = ERROR_INIT;
    enum grpc_code code;

    call->is_request_over = true;
    if (call->state != GRPC_CALL_BODY)
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
    call_move(call, GRPC_CALL_WORKING);
    call->method->call(call->common->userdata, call,
                       (const uint8_t *)buf_text(&call->reader.message), call->reader.message.len);
    forget_request(call);
}
