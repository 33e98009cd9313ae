/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "monitor/http_server.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/fake_keeper.h"

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *host; /* host: NULL for what is refused */
        int port;
    } cases[] = {
        {"127.0.0.1:9090", "127.0.0.1", 9090},
        {"localhost:1", "127.0.0.1", 1},
        {"[::1]:65535", "::1", 65535},
        {"[fe80::1]:80", "fe80::1", 80},
        {":0", "::", 0},
        {"9090", NULL, 0},
        {"127.0.0.1", NULL, 0},
        {"127.0.0.1:", NULL, 0},
        {"127.0.0.1:65536", NULL, 0},
        {"127.0.0.1:+1", NULL, 0},
        {"127.0.0.1:99999999999999999999999", NULL, 0},
        {"127.0.0.1:80x", NULL, 0},
        {"::1:80", NULL, 0},
        {"[::1]", NULL, 0},
        {"[]:80", NULL, 0},
        {"[127.0.0.1]:80", NULL, 0},
        {"monitoring.example:80", NULL, 0},
        {"[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:80", NULL, 0},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct sockaddr_storage address;
        const struct sockaddr_in *v4 = (const void *)&address;
        const struct sockaddr_in6 *v6 = (const void *)&address;
        struct error e = ERROR_INIT;
        char host[INET6_ADDRSTRLEN];
        socklen_t len;
        int r = http_server_parse_address(cases[i].text, &address, &len, &e);

        if (cases[i].host == NULL) {
            assert_int_equal(r, -EINVAL);
            assert_non_null(strstr(e.text, "127.0.0.1:9090, [::1]:9090 or :9090"));
            continue;
        }
        assert_int_equal(r, 0);
        if (address.ss_family == AF_INET) {
            assert_int_equal(len, sizeof(*v4));
            assert_non_null(inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)));
            assert_int_equal(ntohs(v4->sin_port), cases[i].port);
        } else {
            assert_int_equal(len, sizeof(*v6));
            assert_non_null(inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)));
            assert_int_equal(ntohs(v6->sin6_port), cases[i].port);
        }
        assert_string_equal(host, cases[i].host);
    }
}

static void test_off(void **state)
{
    struct sockaddr_storage address;
    socklen_t len;

    assert_int_equal(http_server_parse_address("0", &address, &len, NULL), HTTP_SERVER_OFF);
    assert_int_equal(http_server_parse_address("", &address, &len, NULL), HTTP_SERVER_OFF);
}

static void test_loopback_addresses(void **state)
{
    static const struct {
        const char *text;
        bool is_loopback;
    } cases[] = {{"127.0.0.1:80", true}, {"127.1.2.3:80", true}, {"localhost:80", true},
                 {"[::1]:80", true},     {":80", false},         {"0.0.0.0:80", false},
                 {"[::]:80", false},     {"10.0.0.1:80", false}, {"[fe80::1]:80", false},
                 {"128.0.0.1:80", false}};

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct sockaddr_storage address;
        socklen_t len;

        assert_int_equal(http_server_parse_address(cases[i].text, &address, &len, NULL), 0);
        assert_int_equal(http_server_is_loopback(&address), cases[i].is_loopback);
    }
}

static void test_hosts_of_requests(void **state)
{
    static const char *const ours[] = {"localhost", "localhost:9811", "127.0.0.1:9811",
                                       "127.9.9.9", "[::1]",          "[::1]:9811"};
    static const char *const others[] = {
        "",
        ":9811",
        "example.com",
        "localhost.example.com:9811",
        "127.0.0.1.example.com",
        "10.0.0.1:9811",
        "::1",
        "[::1",
        "[::2]:9811",
        "[localhost]",
        "0x7f000001",
        "127.1",
        "a.name.that.is.longer.than.any.address.can.be.example.com"};

    for (size_t i = 0; i < ELEMENTS_OF(ours); i++)
        if (!http_server_names_loopback(ours[i]))
            fail_msg("refused: %s", ours[i]);
    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        if (http_server_names_loopback(others[i]))
            fail_msg("accepted: %s", others[i]);
    assert_false(http_server_names_loopback(NULL));
}

/* ---- a server and a client */

struct fixture {
    sd_event *event;
    struct http_server *page;
    unsigned n_asked;
    bool was_verbose;
    char reply[65536];
};

static int answer_small(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    struct fixture *f = userdata;

    f->n_asked++;
    f->was_verbose = is_verbose;
    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return buf_add_text(&answer->body, "all is well\n");
}

static int answer_empty(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    answer->status = 503;
    return 0;
}

static int answer_badly(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    if (buf_add_text(&answer->body, "half an ans") < 0)
        return -ENOMEM;
    return -ENOMEM;
}

static int answer_large(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    char line[1001];
    int r = 0;

    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    for (unsigned i = 0; i < 4000 && r == 0; i++)
        r = buf_add_text(&answer->body, line);
    return r;
}

static const struct http_server_route routes[] = {
    {"/small", answer_small, false},  {"/empty", answer_empty, false},
    {"/bad", answer_badly, false},    {"/large", answer_large, false},
    {"/browser", answer_small, true}, {NULL, NULL, false},
};

static void set_up(struct fixture *f, const char *address)
{
    struct error e = ERROR_INIT;

    memset(f, 0, sizeof(*f));
    assert_int_equal(sd_event_new(&f->event), 0);
    if (http_server_new(f->event, address, NULL, routes, f, &f->page, &e) < 0)
        fail_msg("%s", e.text);
}

static void tear_down(struct fixture *f)
{
    assert_null(http_server_free(f->page));
    assert_null(sd_event_unref(f->event));
}

static int connect_to_address(const char *text)
{
    struct sockaddr_storage address;
    socklen_t len;
    int fd;

    assert_int_equal(http_server_parse_address(text, &address, &len, NULL), 0);
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, len), 0);
    return fd;
}

static int connect_to(const struct fixture *f)
{
    return connect_to_address(http_server_address(f->page));
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Run the loop until the other side closes. Return: bytes that came; as many as fit are kept. */
static size_t hear_all(struct fixture *f, int fd)
{
    char block[4096];
    size_t len = 0;
    ssize_t n;

    f->reply[0] = '\0';
    while ((n = recv(fd, block, sizeof(block), MSG_DONTWAIT)) != 0) {
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(sd_event_run(f->event, 1000) >= 0);
            continue;
        }
        if (len + (size_t)n < sizeof(f->reply)) {
            memcpy(f->reply + len, block, (size_t)n);
            f->reply[len + (size_t)n] = '\0';
        }
        len += (size_t)n;
    }
    close(fd);
    return len;
}

static const char *ask_as(struct fixture *f, const char *line, const char *host)
{
    char request[256];
    int fd = connect_to(f);

    snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", line,
             host);
    say(fd, request);
    hear_all(f, fd);
    return f->reply;
}

static const char *ask(struct fixture *f, const char *line)
{
    return ask_as(f, line, "test");
}

static void assert_status(const char *reply, const char *status)
{
    char line[64];

    snprintf(line, sizeof(line), "HTTP/1.1 %s", status);
    if (str_after(reply, line) == NULL)
        fail_msg("no '%s' in '%.200s'", line, reply);
}

static void test_answers(void **state)
{
    struct fixture f;
    const char *reply;

    set_up(&f, "127.0.0.1:0");
    reply = ask(&f, "GET /small");
    assert_status(reply, "200 OK\r\n");
    assert_non_null(
        strstr(reply, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(reply, "\r\nContent-Length: 12\r\n"));
    assert_non_null(strstr(reply, "\r\n\r\nall is well\n"));
    assert_false(f.was_verbose);
    assert_status(ask(&f, "GET /small?verbose"), "200");
    assert_true(f.was_verbose);
    assert_status(ask(&f, "GET /small?verbose=1&x=2"), "200");
    assert_true(f.was_verbose);
    reply = ask(&f, "HEAD /small");
    assert_status(reply, "200 OK\r\n");
    assert_non_null(strstr(reply, "\r\nContent-Length: 12\r\n"));
    assert_null(strstr(reply, "all is well"));
    assert_status(ask(&f, "GET /empty"), "503");
    tear_down(&f);
}

static void test_refuses(void **state)
{
    struct fixture f;
    const char *reply;

    set_up(&f, "127.0.0.1:0");
    assert_status(ask(&f, "GET /"), "404");
    assert_status(ask(&f, "GET /small/"), "404");
    assert_status(ask(&f, "GET /%2e%2e/small"), "404");
    reply = ask(&f, "POST /small");
    assert_status(reply, "405");
    assert_non_null(strstr(reply, "\r\nAllow: GET, HEAD\r\n"));
    assert_status(ask(&f, "DELETE /nowhere"), "405");
    assert_int_equal(f.n_asked, 0);
    reply = ask(&f, "GET /bad");
    assert_status(reply, "500");
    assert_null(strstr(reply, "half an ans"));
    tear_down(&f);
}

/* A page of another site, whose name resolves to this host, gets nothing. */
static void test_pages_for_browsers(void **state)
{
    struct fixture f;
    const char *reply;

    set_up(&f, "127.0.0.1:0");
    assert_status(ask_as(&f, "GET /browser", "example.com"), "421");
    assert_int_equal(f.n_asked, 0);
    reply = ask_as(&f, "GET /browser", "localhost:9811");
    assert_status(reply, "200");
    assert_non_null(strstr(reply, "\r\nContent-Security-Policy: default-src 'none'; "));
    assert_non_null(strstr(reply, "\r\nCross-Origin-Resource-Policy: same-origin\r\n"));
    assert_null(strstr(ask(&f, "GET /small"), "Content-Security-Policy"));
    tear_down(&f);
}

static void test_bodies_are_ignored(void **state)
{
    struct fixture f;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    say(fd, "GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 10\r\n\r\n");
    say(fd, "0123456789");
    hear_all(&f, fd);
    assert_status(f.reply, "200");
    assert_int_equal(f.n_asked, 1);
    /* what is not wanted is refused before its body is there */
    fd = connect_to(&f);
    say(fd, "PUT /small HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nbegin");
    hear_all(&f, fd);
    assert_status(f.reply, "405");
    tear_down(&f);
}

static void test_large_answers(void **state)
{
    struct fixture f;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    say(fd, "GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_true(hear_all(&f, fd) > 4000000);
    assert_non_null(strstr(f.reply, "\r\nContent-Length: 4000000\r\n"));
    tear_down(&f);
}

static void test_one_connection_may_ask_again(void **state)
{
    static const char request[] = "GET /small HTTP/1.1\r\nHost: test\r\n\r\n";
    struct fixture f;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    say(fd, request);
    while (f.n_asked < 1)
        assert_true(sd_event_run(f.event, UINT64_MAX) >= 0);
    say(fd, request);
    while (f.n_asked < 2)
        assert_true(sd_event_run(f.event, UINT64_MAX) >= 0);
    close(fd);
    tear_down(&f);
}

static void test_heads_have_a_limit(void **state)
{
    struct fixture f;
    char junk[1024];
    bool is_open = true;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    memset(junk, 'x', sizeof(junk));
    say(fd, "GET /small HTTP/1.1\r\nHost: test\r\nX-Long: ");
    for (unsigned i = 0; i < HTTP_SERVER_CONNECTION_MEMORY / sizeof(junk); i++)
        is_open = is_open && send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0;
    hear_all(&f, fd);
    assert_int_equal(f.n_asked, 0);
    assert_true(f.reply[0] == '\0' || str_after(f.reply, "HTTP/1.1 4") != NULL ||
                str_after(f.reply, "HTTP/1.0 4") != NULL);
    tear_down(&f);
}

static void run_pending(struct fixture *f)
{
    while (sd_event_run(f->event, 0) > 0)
        continue;
}

/* Whether the server has closed the connection. */
static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* Connections without a request: beyond the limit of a host its oldest one is dropped. */
static void test_one_host_has_a_limit(void **state)
{
    int silent[HTTP_SERVER_CONNECTIONS_PER_HOST];
    struct fixture f;

    set_up(&f, "127.0.0.1:0");
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++) {
        silent[i] = connect_to(&f);
        run_pending(&f);
    }
    assert_status(ask(&f, "GET /small"), "200");
    run_pending(&f);
    assert_true(is_closed(silent[0]));
    for (size_t i = 1; i < ELEMENTS_OF(silent); i++)
        assert_false(is_closed(silent[i]));
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++)
        close(silent[i]);
    tear_down(&f);
}

/* Many more than the limits, opened before the server accepts any: each request is answered. */
static void test_many_silent_connections(void **state)
{
    int silent[400];
    struct fixture f;

    set_up(&f, "127.0.0.1:0");
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++) {
        silent[i] = connect_to(&f);
        if (i % 16 == 15)
            run_pending(&f);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_status(ask(&f, "GET /small"), "200");
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++)
        close(silent[i]);
    assert_status(ask(&f, "GET /small"), "200");
    tear_down(&f);
}

/* A scraper keeps its connection while others open and drop theirs. */
static void test_connection_in_use_stays(void **state)
{
    static const char request[] = "GET /small HTTP/1.1\r\nHost: test\r\n\r\n";
    int silent[HTTP_SERVER_CONNECTIONS_PER_HOST];
    struct fixture f;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    for (unsigned round = 1; round <= 3; round++) {
        say(fd, request);
        while (f.n_asked < round)
            assert_true(sd_event_run(f.event, UINT64_MAX) >= 0);
        for (size_t i = 0; i + 1 < ELEMENTS_OF(silent); i++) {
            silent[i] = connect_to(&f);
            run_pending(&f);
        }
        for (size_t i = 0; i + 1 < ELEMENTS_OF(silent); i++)
            close(silent[i]);
        run_pending(&f);
    }
    close(fd);
    tear_down(&f);
}

/* As if from another host. */
static int connect_from(const struct fixture *f, const char *from)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct sockaddr_storage address;
    socklen_t len;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(inet_pton(AF_INET, from, &source.sin_addr), 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&source, sizeof(source)), 0);
    assert_int_equal(http_server_parse_address(http_server_address(f->page), &address, &len, NULL),
                     0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, len), 0);
    return fd;
}

/* Beyond the limit of all connections the oldest of all is dropped. */
static void test_all_hosts_have_a_limit(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    int silent[HTTP_SERVER_CONNECTIONS_MAX];
    struct fixture f;
    int fd;

    set_up(&f, "127.0.0.1:0");
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++) {
        silent[i] = connect_from(&f, hosts[i % ELEMENTS_OF(hosts)]);
        run_pending(&f);
    }
    fd = connect_from(&f, "127.0.0.4");
    say(fd, "GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    hear_all(&f, fd);
    assert_status(f.reply, "200");
    run_pending(&f);
    assert_true(is_closed(silent[0]));
    assert_false(is_closed(silent[1]));
    for (size_t i = 0; i < ELEMENTS_OF(silent); i++)
        close(silent[i]);
    tear_down(&f);
}

static void test_every_address(void **state)
{
    struct fixture f;
    char v4[32];

    set_up(&f, ":0");
    assert_true(str_after(http_server_address(f.page), "[::]:") != NULL ||
                str_after(http_server_address(f.page), "0.0.0.0:") != NULL);
    assert_status(ask(&f, "GET /small"), "200");
    snprintf(v4, sizeof(v4), "127.0.0.1%s", strrchr(http_server_address(f.page), ':'));
    {
        struct http_server *second = NULL;
        struct error e = ERROR_INIT;

        /* the same port serves IPv4, so it is taken there too */
        assert_int_equal(http_server_new(f.event, v4, NULL, routes, &f, &second, &e), -EADDRINUSE);
        assert_null(second);
        assert_non_null(strstr(e.text, "cannot listen on 127.0.0.1:"));
    }
    tear_down(&f);
}

/* A client connects while no server runs, and the next one answers it. */
static void test_socket_that_is_kept(void **state)
{
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    const struct kept_socket keep = fake_keeper_keep(&keeper);
    struct fixture f = {.event = NULL};
    char address[64];
    int fd;

    assert_int_equal(sd_event_new(&f.event), 0);
    assert_int_equal(http_server_new(f.event, "127.0.0.1:0", &keep, routes, &f, &f.page, NULL), 0);
    snprintf(address, sizeof(address), "%s", http_server_address(f.page));
    assert_null(strchr(keeper.label, ':'));
    fd = connect_to(&f);
    close(fd);
    keeper.leaves = true;
    assert_null(http_server_free(f.page));
    f.page = NULL;
    keeper.leaves = false;
    fd = connect_to_address(address);
    assert_int_equal(http_server_new(f.event, "127.0.0.1:0", &keep, routes, &f, &f.page, NULL), 0);
    assert_string_equal(http_server_address(f.page), address);
    say(fd, "GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    hear_all(&f, fd);
    assert_status(f.reply, "200");
    tear_down(&f);
    assert_int_equal(keeper.fd, -1);
}

/* An address that is not the one of the configuration any more is closed. */
static void test_another_address(void **state)
{
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    const struct kept_socket keep = fake_keeper_keep(&keeper);
    struct fixture f = {.event = NULL};

    assert_int_equal(sd_event_new(&f.event), 0);
    assert_int_equal(http_server_new(f.event, "127.0.0.1:0", &keep, routes, &f, &f.page, NULL), 0);
    keeper.leaves = true;
    http_server_free(f.page);
    assert_int_equal(http_server_new(f.event, "127.0.0.2:0", &keep, routes, &f, &f.page, NULL), 0);
    assert_non_null(str_after(http_server_address(f.page), "127.0.0.2:"));
    assert_non_null(strstr(keeper.label, "127.0.0.2"));
    keeper.leaves = false;
    tear_down(&f);
}

static int try_serving(void *userdata)
{
    _cleanup_(http_server_freep) struct http_server *page = NULL;
    struct error e = ERROR_INIT;

    return http_server_new(userdata, "127.0.0.1:0", NULL, routes, NULL, &page, &e);
}

static void test_without_memory(void **state)
{
    sd_event *event;

    assert_int_equal(sd_event_new(&event), 0);
    failmalloc_try(try_serving, event);
    assert_null(sd_event_unref(event));
}

/* A process without free descriptors: the waiting connection does not keep its loop busy. */
static void test_no_descriptor_for_a_connection(void **state)
{
    struct rlimit before, none;
    struct fixture f;
    unsigned n = 0;
    int fd;

    set_up(&f, "127.0.0.1:0");
    fd = connect_to(&f);
    say(fd, "GET /small HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    while (n < 10000 && sd_event_run(f.event, 0) > 0)
        n++;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(n < 10000);
    hear_all(&f, fd);
    assert_non_null(strstr(f.reply, "all is well"));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_loopback_addresses),
        cmocka_unit_test(test_hosts_of_requests),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_no_descriptor_for_a_connection),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_pages_for_browsers),
        cmocka_unit_test(test_bodies_are_ignored),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_one_connection_may_ask_again),
        cmocka_unit_test(test_heads_have_a_limit),
        cmocka_unit_test(test_one_host_has_a_limit),
        cmocka_unit_test(test_many_silent_connections),
        cmocka_unit_test(test_connection_in_use_stays),
        cmocka_unit_test(test_all_hosts_have_a_limit),
        cmocka_unit_test(test_every_address),
        cmocka_unit_test(test_socket_that_is_kept),
        cmocka_unit_test(test_another_address),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
