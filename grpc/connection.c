/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2 takes bytes in, calls back with frames, and is asked for bytes to send; it knows neither
 * sockets nor time. What has to be minded:
 *
 *  - A method may answer while nghttp2 is still calling back with the request. So an answer is only
 *    handed to nghttp2, and sent when it has returned: at once if input is being handled, else in
 *    the next turn of the loop, by asking for the socket to be writable.
 *  - A connection is freed from the loop only, never from within a callback of nghttp2 or of a
 *    method; whoever finds there that it is broken says so and lets the loop do it.
 *  - A stream on which the answer has been sent while the request still comes in is reset without
 *    an error, which asks the client to stop (RFC 9113, 8.1). Not before the answer is really sent:
 *    nghttp2 drops what it has for a stream that is to be reset.
 *  - The bytes of requests are secrets' at times. They are read into a buffer that is wiped, and
 *    nghttp2 hands them on from there without a copy.
 *
 * The client has a time to begin its first request, and another one without any call; a connection
 * that is over then is told so by GOAWAY. The kubelet closes its own at once (R12).
 */
#include "grpc/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"

#define CONNECTION_MAGIC 0x636f6e6eu
#define READ_BYTES       16384
#define TIMER_ACCURACY   SPAN_MS(100)

struct grpc_connection {
    unsigned magic;
    struct grpc_common *common;
    grpc_connection_over_fn *over;
    void *over_userdata;
    nghttp2_session *session;
    sd_event_source *io;
    sd_event_source *timer; /* on while there is no call */
    sd_event_source *doom;  /* on once it is broken */
    struct list calls;
    size_t n_calls;
    mono_us idle_since; /* 0: there is a call */
    bool is_broken;
};

nghttp2_session *grpc_connection_session(struct grpc_connection *connection)
{
    return connection->session;
}

mono_us grpc_connection_idle_since(const struct grpc_connection *connection)
{
    return connection->idle_since;
}

/* The socket cannot be waited for: it may be full, and for ever. */
void grpc_connection_break(struct grpc_connection *connection)
{
    int r = sd_event_source_set_enabled(connection->doom, SD_EVENT_ONESHOT);

    assert(r >= 0);
    connection->is_broken = true;
}

void grpc_connection_wake(struct grpc_connection *connection)
{
    if (sd_event_source_set_io_events(connection->io, EPOLLIN | EPOLLOUT) < 0)
        grpc_connection_break(connection);
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
    if (grpc_call_new(connection->common, connection, frame->hd.stream_id, &call) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    list_append(&connection->calls, &call->link);
    connection->n_calls++;
    connection->idle_since = 0;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *userdata)
{
    struct grpc_call *call = call_of(session, frame->hd.stream_id);

    /* what a client sends behind its message says nothing in gRPC */
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
        grpc_call_take_data(call, bytes, len);
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
        grpc_call_take_headers(call);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        grpc_call_take_end(call);
    return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
    struct grpc_call *call;

    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    call = call_of(session, frame->hd.stream_id);
    if (call == NULL || call->is_request_over)
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
    grpc_call_free(call);
    assert(connection->n_calls > 0);
    connection->n_calls--;
    return 0;
}

static int make_session(struct grpc_connection *connection)
{
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
    nghttp2_option_set_no_http_messaging(options, 1); /* R11a; see grpc_headers.c */
    nghttp2_option_set_no_closed_streams(options, 1); /* they are for priorities, which we ignore */
    r = nghttp2_session_server_new2(&connection->session, callbacks, connection, options);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    return r < 0 ? -ENOMEM : 0;
}

static int submit_settings(struct grpc_connection *connection)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, connection->common->limits.streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEADERS_MAX_BYTES},
    };

    return nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings,
                                   ELEMENTS_OF(settings)) < 0
               ? -ENOMEM
               : 0;
}

/* ---- the loop's side */

/* Return: 0; -errno when the connection is to be closed. */
static int receive(struct grpc_connection *connection, int fd)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = read(fd, bytes, sizeof(bytes)), taken;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
    if (n == 0)
        return -ECONNRESET;
    taken = nghttp2_session_mem_recv(connection->session, bytes, (size_t)n);
    explicit_bzero(bytes, (size_t)n);
    if (taken < 0)
        log_debug("a client of the CSI socket is cut off", "error", nghttp2_strerror((int)taken));
    return taken < 0 ? -EPROTO : 0;
}

static int update_timer(struct grpc_connection *connection)
{
    int r;

    if (connection->n_calls > 0)
        return sd_event_source_set_enabled(connection->timer, SD_EVENT_OFF);
    if (connection->idle_since != 0)
        return 0;
    connection->idle_since = clock_mono();
    r = sd_event_source_set_time_relative(connection->timer, connection->common->limits.idle);
    return r < 0 ? r : sd_event_source_set_enabled(connection->timer, SD_EVENT_ONESHOT);
}

/* Return: 0; -errno when the connection is to be closed. */
static int transmit(struct grpc_connection *connection)
{
    nghttp2_session *session = connection->session;
    int r = nghttp2_session_send(session);
    bool wants_write = nghttp2_session_want_write(session) != 0;

    if (r < 0)
        return -EPIPE;
    if (!wants_write && nghttp2_session_want_read(session) == 0)
        return -ESHUTDOWN; /* both sides have said all */
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
    if (r < 0 || connection->is_broken)
        connection->over(connection->over_userdata, connection);
    return 0;
}

static int on_doom(sd_event_source *source, void *userdata)
{
    struct grpc_connection *connection = userdata;

    assert(connection->magic == CONNECTION_MAGIC);
    connection->over(connection->over_userdata, connection);
    return 0;
}

static int on_idle(sd_event_source *source, uint64_t now, void *userdata)
{
    struct grpc_connection *connection = userdata;

    assert(connection->magic == CONNECTION_MAGIC && connection->n_calls == 0);
    connection->over(connection->over_userdata, connection);
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
    r = sd_event_add_defer(common->event, &connection->doom, on_doom, connection);
    if (r >= 0)
        r = sd_event_source_set_enabled(connection->doom, SD_EVENT_OFF);
    if (r < 0)
        return r;
    connection->idle_since = clock_mono();
    r = make_session(connection);
    return r < 0 ? r : submit_settings(connection);
}

int grpc_connection_new(struct grpc_common *common, int fd_consumed, grpc_connection_over_fn *over,
                        void *userdata, struct grpc_connection **ret_connection)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    _cleanup_(grpc_connection_freep) struct grpc_connection *connection =
        calloc(1, sizeof(*connection));
    int r;

    if (connection == NULL)
        return -ENOMEM;
    connection->magic = CONNECTION_MAGIC;
    connection->common = common;
    connection->over = over;
    connection->over_userdata = userdata;
    list_init(&connection->calls);
    r = connection_start(connection, fd);
    if (connection->io != NULL)
        (void)TAKE_FD(fd);
    if (r < 0)
        return r;
    grpc_connection_wake(connection);
    *ret_connection = TAKE(connection);
    return 0;
}

/*
 * What is answered goes out as far as the client's socket takes it at once, then a good-bye. In
 * this order: nghttp2 sends no more data once it has said GOAWAY.
 */
static void say_goodbye(struct grpc_connection *connection)
{
    if (!connection->is_broken && nghttp2_session_send(connection->session) == 0 &&
        nghttp2_session_terminate_session(connection->session, NGHTTP2_NO_ERROR) == 0)
        nghttp2_session_send(connection->session);
}

struct grpc_connection *grpc_connection_free(struct grpc_connection *connection)
{
    struct grpc_call *call, *tmp;

    if (connection == NULL)
        return NULL;
    if (connection->session != NULL)
        say_goodbye(connection);
    list_for_each_safe (call, tmp, &connection->calls, link)
        grpc_call_free(call);
    nghttp2_session_del(connection->session);
    sd_event_source_disable_unref(connection->doom);
    sd_event_source_disable_unref(connection->timer);
    sd_event_source_disable_unref(connection->io);
    connection->magic = 0;
    free(connection);
    return NULL;
}
