/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     IDLE <--> BUSY        BUSY: there are calls, or the last one ended in this turn of the loop
 *       |         |
 *       +---------+--> CLOSING --> freed by the server in the next turn of the loop
 *
 * nghttp2 is fed with bytes, calls back with frames and is asked for bytes to send; it knows
 * neither sockets nor time. Four rules follow:
 *
 *  - A method may answer while nghttp2 is still calling back with the request. So a response is
 *    only handed to nghttp2 (`wake`), and sent when nghttp2 has returned: at once if input is being
 *    handled, else in the next turn of the loop, by asking for the socket to be writable.
 *  - A connection is freed by the loop, never within a callback of nghttp2 or a method. A failure
 *    there moves it to CLOSING (`abort`). The socket cannot be used to wait for that turn: it may
 *    stay full.
 *  - A stream whose response has been sent while its request still arrives is reset without an
 *    error, which asks the client to stop (RFC 9113, 8.1). Not before the response is really sent:
 *    nghttp2 drops what it holds for a stream that is being reset.
 *  - Requests may carry secrets. They are read into a buffer that is wiped, and nghttp2 passes them
 *    on from there without a copy.
 *
 * A client has limits.receive to begin its first request, and later limits.idle without a call;
 * after that it gets GOAWAY. The kubelet closes its own connections at once (R12).
 */
#include "grpc/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"

#define CONNECTION_MAGIC 0x636f6e6eu
#define READ_BYTES       16384
#define TIMER_ACCURACY   SPAN_MS(100)

enum state { IDLE, BUSY, CLOSING };

static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} states[] = {
    [IDLE] = {"idle", 1u << BUSY | 1u << CLOSING},
    [BUSY] = {"busy", 1u << IDLE | 1u << CLOSING},
    [CLOSING] = {"closing", 0},
};

struct grpc_connection {
    unsigned magic;
    struct grpc_transport transport;
    struct grpc_common *common;
    grpc_connection_ended_fn *ended;
    void *ended_userdata;
    enum state state;
    sd_event_source *io;
    sd_event_source *timer; /* on in IDLE */
    sd_event_source *close; /* deferred; on in CLOSING */
    struct list calls;
    size_t n_calls;
    mono_us idle_since; /* 0: there is a call */
};

static void connection_move(struct grpc_connection *connection, enum state state)
{
    log_trace(LOG_TRACE_GRPC, "connection changes state", "from", states[connection->state].name,
              "to", states[state].name);
    assert((states[connection->state].next & 1u << state) != 0);
    connection->state = state;
}

mono_us grpc_connection_idle_since(const struct grpc_connection *connection)
{
    return connection->idle_since;
}

/* ---- for calls */

static struct grpc_connection *connection_of(struct grpc_transport *transport)
{
    struct grpc_connection *connection = CONTAINER_OF(transport, struct grpc_connection, transport);

    assert(connection->magic == CONNECTION_MAGIC);
    return connection;
}

static void connection_abort(struct grpc_transport *transport)
{
    struct grpc_connection *connection = connection_of(transport);
    int r;

    if (connection->state == CLOSING)
        return;
    r = sd_event_source_set_enabled(connection->close, SD_EVENT_ONESHOT);
    assert(r >= 0);
    connection_move(connection, CLOSING);
}

static void connection_wake(struct grpc_transport *transport)
{
    if (sd_event_source_set_io_events(connection_of(transport)->io, EPOLLIN | EPOLLOUT) < 0)
        connection_abort(transport);
}

/* ---- nghttp2's callbacks */

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t len, int flags,
                       void *userdata)
{
    struct grpc_connection *connection = userdata;
    ssize_t n;

    do
        n = send(sd_event_source_get_io_fd(connection->io), bytes, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    struct grpc_connection *connection = userdata;
    struct grpc_call *call = NULL;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (grpc_call_new(connection->common, &connection->transport, frame->hd.stream_id, &call) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    list_append(&connection->calls, &call->link);
    connection->n_calls++;
    connection->idle_since = 0;
    if (connection->state == IDLE)
        connection_move(connection, BUSY);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *userdata)
{
    struct grpc_call *call = call_of(session, frame->hd.stream_id);

    /* trailers of a request mean nothing in gRPC */
    if (call != NULL && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        grpc_headers_add(&call->headers, (const char *)name, name_len, (const char *)value,
                         value_len);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes,
                   size_t len, void *userdata)
{
    struct grpc_call *call = call_of(session, stream_id);

    if (call != NULL)
        grpc_call_on_data(call, bytes, len);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    struct grpc_call *call;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    call = call_of(session, frame->hd.stream_id);
    if (call == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        grpc_call_on_headers(call);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        grpc_call_on_end(call);
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    struct grpc_call *call;

    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    call = call_of(session, frame->hd.stream_id);
    if (call == NULL || call->is_request_complete)
        return 0;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                     NGHTTP2_NO_ERROR) < 0
               ? NGHTTP2_ERR_CALLBACK_FAILURE
               : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *userdata)
{
    struct grpc_connection *connection = userdata;
    struct grpc_call *call = call_of(session, stream_id);

    if (call == NULL)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    assert(call->stream_id == stream_id && call->transport == &connection->transport);
    grpc_call_free(call);
    assert(connection->n_calls > 0);
    connection->n_calls--;
    return 0;
}

/* Create the session, with its settings as the first frame to send. */
static int create_session(struct grpc_connection *connection)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, connection->common->limits.streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEADERS_MAX_BYTES},
    };
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    int r;

    if (nghttp2_session_callbacks_new(&callbacks) < 0)
        return -ENOMEM;
    if (nghttp2_option_new(&options) < 0) {
        nghttp2_session_callbacks_del(callbacks);
        return -ENOMEM;
    }
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_option_set_no_http_messaging(options, 1); /* R11a; see headers.c */
    nghttp2_option_set_no_closed_streams(options, 1); /* kept for priorities only */
    r = nghttp2_session_server_new2(&connection->transport.session, callbacks, connection, options);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    if (r == 0)
        r = nghttp2_submit_settings(connection->transport.session, NGHTTP2_FLAG_NONE, settings,
                                    ELEMENTS_OF(settings));
    return r < 0 ? -ENOMEM : 0;
}

/* ---- the loop */

/* Return: 0; -errno when the connection has to be closed. */
static int receive(struct grpc_connection *connection, int fd)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = read(fd, bytes, sizeof(bytes)), taken;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
    if (n == 0)
        return -ECONNRESET;
    taken = nghttp2_session_mem_recv(connection->transport.session, bytes, (size_t)n);
    explicit_bzero(bytes, (size_t)n);
    if (taken < 0)
        log_debug("closing a gRPC connection", "error", nghttp2_strerror((int)taken));
    return taken < 0 ? -EPROTO : 0;
}

/* Turn the timer off with the first call, on after the last one. */
static int update_timer(struct grpc_connection *connection)
{
    int r;

    if (connection->n_calls > 0)
        return sd_event_source_set_enabled(connection->timer, SD_EVENT_OFF);
    if (connection->state != BUSY)
        return 0;
    connection_move(connection, IDLE);
    connection->idle_since = clock_mono();
    r = sd_event_source_set_time_relative(connection->timer, connection->common->limits.idle);
    return r < 0 ? r : sd_event_source_set_enabled(connection->timer, SD_EVENT_ONESHOT);
}

/* Return: 0; -errno when the connection has to be closed. */
static int transmit(struct grpc_connection *connection)
{
    nghttp2_session *session = connection->transport.session;
    int r = nghttp2_session_send(session);
    bool wants_write = nghttp2_session_want_write(session) != 0;

    if (r < 0)
        return -EPIPE;
    if (!wants_write && nghttp2_session_want_read(session) == 0)
        return -ESHUTDOWN; /* both sides have sent GOAWAY, or the session failed */
    r = sd_event_source_set_io_events(connection->io,
                                      EPOLLIN | (wants_write ? (uint32_t)EPOLLOUT : 0));
    return r < 0 ? r : update_timer(connection);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct grpc_connection *connection = userdata;
    int r = 0;

    assert(connection->magic == CONNECTION_MAGIC);
    if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        r = receive(connection, fd);
    if (r == 0)
        r = transmit(connection);
    if (r < 0 || connection->state == CLOSING)
        connection->ended(connection->ended_userdata, connection);
    return 0;
}

static int on_close(sd_event_source *source, void *userdata)
{
    struct grpc_connection *connection = userdata;

    assert(connection->magic == CONNECTION_MAGIC && connection->state == CLOSING);
    connection->ended(connection->ended_userdata, connection);
    return 0;
}

static int on_idle(sd_event_source *source, uint64_t now, void *userdata)
{
    struct grpc_connection *connection = userdata;

    assert(connection->magic == CONNECTION_MAGIC && connection->n_calls == 0);
    assert(connection->state == IDLE);
    connection->ended(connection->ended_userdata, connection);
    return 0;
}

static int connection_start(struct grpc_connection *connection, int fd)
{
    const struct grpc_common *common = connection->common;
    int r = sd_event_add_io(common->event, &connection->io, fd, EPOLLIN, on_io, connection);

    if (r < 0)
        return r;
    r = sd_event_source_set_io_fd_own(connection->io, true);
    assert(r >= 0);
    r = sd_event_add_time_relative(common->event, &connection->timer, CLOCK_MONOTONIC,
                                   common->limits.receive, TIMER_ACCURACY, on_idle, connection);
    if (r < 0)
        return r;
    r = sd_event_add_defer(common->event, &connection->close, on_close, connection);
    if (r >= 0)
        r = sd_event_source_set_enabled(connection->close, SD_EVENT_OFF);
    if (r < 0)
        return r;
    connection->idle_since = clock_mono();
    return create_session(connection);
}

int grpc_connection_new(struct grpc_common *common, int fd_consumed,
                        grpc_connection_ended_fn *ended, void *userdata,
                        struct grpc_connection **ret_connection)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    _cleanup_(grpc_connection_freep) struct grpc_connection *connection =
        calloc(1, sizeof(*connection));
    int r;

    if (connection == NULL)
        return -ENOMEM;
    connection->magic = CONNECTION_MAGIC;
    connection->common = common;
    connection->transport.wake = connection_wake;
    connection->transport.abort = connection_abort;
    connection->ended = ended;
    connection->ended_userdata = userdata;
    list_init(&connection->calls);
    r = connection_start(connection, fd);
    if (connection->io != NULL)
        (void)TAKE_FD(fd);
    if (r < 0)
        return r;
    connection_wake(&connection->transport);
    *ret_connection = TAKE(connection);
    return 0;
}

/*
 * Send the responses that the client's socket accepts at once, then GOAWAY. In this order: nghttp2
 * sends no more data after GOAWAY.
 */
static void send_goaway(struct grpc_connection *connection)
{
    nghttp2_session *session = connection->transport.session;

    if (connection->state != CLOSING && nghttp2_session_send(session) == 0 &&
        nghttp2_session_terminate_session(session, NGHTTP2_NO_ERROR) == 0)
        nghttp2_session_send(session);
}

struct grpc_connection *grpc_connection_free(struct grpc_connection *connection)
{
    struct grpc_call *call, *tmp;

    if (connection == NULL)
        return NULL;
    if (connection->transport.session != NULL)
        send_goaway(connection);
    list_for_each_safe (call, tmp, &connection->calls, link)
        grpc_call_free(call);
    nghttp2_session_del(connection->transport.session);
    sd_event_source_disable_unref(connection->close);
    sd_event_source_disable_unref(connection->timer);
    sd_event_source_disable_unref(connection->io);
    connection->magic = 0;
    free(connection);
    return NULL;
}
