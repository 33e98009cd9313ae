/* SPDX-License-Identifier: Apache-2.0 */
/* Failing allocations at each point of a call, which clients cannot cause. tests/integration/csi
 * has the other tests of connections and calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "grpc/connection.h"

#include "tests/unit/csi_request.h"
#include "tests/unit/failmalloc.h"

struct server {
    sd_event *event;
    struct grpc_common common;
    struct grpc_connection *connection;
    bool is_over;
    unsigned n_calls, n_answered, n_cancelled;
    struct grpc_call *held;
};

static void echo(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct server *s = userdata;
    uint8_t copy[64];

    s->n_calls++;
    assert_true(len <= sizeof(copy));
    memcpy(copy, message, len);
    grpc_call_reply(call, copy, len);
}

static void refuse(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct server *s = userdata;

    s->n_calls++;
    grpc_call_fail(call, GRPC_NOT_FOUND, "there is none: \xe2\x86\x92");
}

static void on_cancelled(void *userdata)
{
    struct server *s = userdata;

    s->n_cancelled++;
    s->held = NULL;
}

static void hold(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct server *s = userdata;

    s->n_calls++;
    s->held = call;
    grpc_call_set_on_cancel(call, on_cancelled, s);
}

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    struct server *s = userdata;

    s->n_answered++;
}

static void on_over(void *userdata, struct grpc_connection *connection)
{
    struct server *s = userdata;

    assert_ptr_equal(connection, s->connection);
    s->connection = grpc_connection_free(connection);
    s->is_over = true;
}

static const struct grpc_method methods[] = {
    {"/x/Echo", "Echo", echo},
    {"/x/Fail", "Fail", refuse},
    {"/x/Hold", "Hold", hold},
};

static int server_start(struct server *s, int fd_consumed)
{
    s->common = (struct grpc_common){
        .event = s->event,
        .methods = methods,
        .n_methods = ELEMENTS_OF(methods),
        .userdata = s,
        .answered = on_answered,
        .limits = grpc_limits_default,
    };
    return grpc_connection_new(&s->common, fd_consumed, on_over, s, &s->connection);
}

/* Send a whole stream, then disconnect. Return: 0; -ENOMEM. */
static int play(struct server *s, const struct buf *request)
{
    int fds[2], r = sd_event_new(&s->event);

    if (r < 0)
        return r;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(write(fds[0], request->data, request->len), (ssize_t)request->len);
    r = server_start(s, fds[1]);
    /* until the loop is idle */
    while (r >= 0 && !s->is_over) {
        r = sd_event_run(s->event, 0);
        if (r == 0)
            break;
    }
    close(fds[0]);
    while (r >= 0 && !s->is_over)
        r = sd_event_run(s->event, UINT64_MAX);
    s->connection = grpc_connection_free(s->connection);
    s->event = sd_event_unref(s->event);
    assert_int_equal(s->common.received_bytes, 0);
    return r < 0 ? r : 0;
}

static void write_request(struct buf *b)
{
    request_add_preface(b);
    request_add_call(b, 1, "/x/Echo", "dummy", 5);
    request_add_call(b, 3, "/x/Fail", "", 0);
    request_add_call(b, 5, "/x/Hold", "", 0);
    request_add_call(b, 7, "/x/None", "", 0);
}

static void calls_are_answered_or_cancelled(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);
    struct server s = {.is_over = false};

    write_request(&b);
    assert_int_equal(play(&s, &b), 0);
    assert_true(s.is_over);
    assert_int_equal(s.n_calls, 3);
    assert_int_equal(s.n_answered, 3); /* an unknown method is not counted */
    assert_int_equal(s.n_cancelled, 1);
    assert_null(s.held);
}

static int try_playing(void *userdata)
{
    struct server s = {.is_over = false};
    int r = play(&s, userdata);

    /* a connection that is not served for want of memory is none of the loop's failures */
    assert_true(s.n_answered >= s.n_calls);
    assert_null(s.held);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);

    write_request(&b);
    failmalloc_try(try_playing, &b);
}

/* A stream that ends anywhere does no harm. */
static void stream_may_end_anywhere(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);

    write_request(&b);
    for (size_t len = 0; len < b.len; len++) {
        const struct buf prefix = {.data = b.data, .len = len};
        struct server s = {.is_over = false};

        assert_int_equal(play(&s, &prefix), 0);
        assert_true(s.is_over);
        assert_true(s.n_answered >= s.n_calls);
    }
}

/* And each byte of it can be another. */
static void corrupted_byte_is_harmless(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);

    write_request(&b);
    for (size_t i = 0; i < b.len; i++) {
        struct server s = {.is_over = false};

        b.data[i] ^= 0x55;
        assert_int_equal(play(&s, &b), 0);
        assert_true(s.is_over);
        assert_true(s.n_answered >= s.n_calls);
        b.data[i] ^= 0x55;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_answered_or_cancelled),
        cmocka_unit_test(allocation_failures_are_reported),
        cmocka_unit_test(stream_may_end_anywhere),
        cmocka_unit_test(corrupted_byte_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
