/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that libcurl opens and closes, and the streams on them. No socket is connected. */
#include "fetcher/http/connections.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetcher/http/curl_quirks.h"

struct fixture {
    struct http_connections connections;
    struct {
        int fd;
        int port;
    } sockets[2];
};

static int setup(void **state)
{
    static struct fixture f;

    http_connections_init(&f.connections);
    for (size_t i = 0; i < ELEMENTS_OF(f.sockets); i++) {
        struct curl_sockaddr address = {.family = AF_INET, .socktype = SOCK_STREAM};
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(in);
        int fd = http_connections_open(&f.connections, CURLSOCKTYPE_IPCXN, &address);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
        f.sockets[i].fd = fd;
        f.sockets[i].port = ntohs(in.sin_port);
    }
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(f->sockets); i++)
        if (f->sockets[i].fd >= 0)
            http_connections_close(&f->connections, f->sockets[i].fd);
    assert_int_equal(f->connections.n_open, 0);
    assert_int_equal(f->connections.n_ready, 0);
    assert_true(list_is_empty(&f->connections.list));
    return 0;
}

static struct http_connection *acquire(struct fixture *f, size_t i)
{
    struct http_connection *c = http_connections_acquire(&f->connections, f->sockets[i].port);

    assert_non_null(c);
    assert_int_equal(c->fd, f->sockets[i].fd);
    return c;
}

static void test_port_identifies_the_connection(void **state)
{
    struct fixture *f = *state;
    struct http_connection *first = acquire(f, 0), *second = acquire(f, 1);

    assert_int_equal(f->connections.n_open, 2);
    assert_null(http_connections_acquire(&f->connections, 1));
    assert_ptr_not_equal(first, second);
    assert_null(http_connection_release(first));
    assert_null(http_connection_release(second));
    assert_null(http_connection_release(NULL));
}

static void test_connection_stays_until_its_last_stream(void **state)
{
    struct fixture *f = *state;
    struct http_connection *first = acquire(f, 0), *again = acquire(f, 0);

    assert_ptr_equal(first, again);
    http_connections_on_response(&f->connections, first, CURL_HTTP_VERSION_2_0);
    assert_int_equal(f->connections.n_ready, 1);
    http_connections_close(&f->connections, f->sockets[0].fd);
    f->sockets[0].fd = -1;
    assert_int_equal(f->connections.n_open, 1);
    assert_int_equal(f->connections.n_ready, 0);
    http_connection_release(first);
    http_connection_release(again);
    assert_null(http_connections_acquire(&f->connections, f->sockets[0].port));
}

static void test_fullest_connection_is_the_limit_until_one_closes(void **state)
{
    struct fixture *f = *state;
    struct http_connections *connections = &f->connections;
    struct http_connection *c = acquire(f, 0);

    assert_false(http_connections_have_room(connections, 0)); /* none is ready */
    assert_true(http_connections_are_opening(connections));
    http_connections_on_response(connections, c, CURL_HTTP_VERSION_2_0);
    assert_true(http_connections_have_room(connections, HTTP_STREAMS_PER_CONNECTION - 1));
    assert_false(http_connections_have_room(connections, HTTP_STREAMS_PER_CONNECTION));

    acquire(f, 0);
    http_connections_reduce_streams_max(connections);
    assert_true(http_connections_have_room(connections, 1));
    assert_false(http_connections_have_room(connections, 2));

    http_connections_close(connections, f->sockets[1].fd);
    f->sockets[1].fd = -1;
    assert_true(http_connections_have_room(connections, 2));
    assert_false(http_connections_are_opening(connections));
    http_connection_release(c);
    http_connection_release(c);
}

static void test_http1_has_a_connection_for_each_request(void **state)
{
    struct fixture *f = *state;
    struct http_connection *c = acquire(f, 0);

    http_connections_on_response(&f->connections, c, CURL_HTTP_VERSION_1_1);
    assert_true(http_connections_have_room(&f->connections, 10 * HTTP_STREAMS_PER_CONNECTION));
    http_connection_release(c);
}

static int start_libcurl(void **state)
{
    return curl_quirks_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_port_identifies_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connection_stays_until_its_last_stream, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_fullest_connection_is_the_limit_until_one_closes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_http1_has_a_connection_for_each_request, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, start_libcurl, NULL);
}
