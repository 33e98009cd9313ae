/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests wait, for what, and how many connections carry them. */
#include "fetcher/http/client.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"
#include "tests/unit/test_server.h"

#define DIR_TEMPLATE   "/tmp/test-queue-XXXXXX"
#define MAX_ITEMS      20000u
#define FEW_STREAMS    10u
#define UNANSWERED_MAX 64u
#define QUEUED_MAX     16384u

struct item {
    struct fixture *f;
    struct http_request *request;
    int status;
    unsigned n_order; /* in which they were sent, from 1; 0: not yet */
    bool is_done;
    enum http_outcome outcome;
    bool sends_again; /* when it is done */
};

struct fixture {
    struct made_pair pair;
    struct test_server plain;
    struct http_proxy proxy; /* HTTP/2 in front of it, few streams on a connection */
    char dir[sizeof(DIR_TEMPLATE)];
    sd_event *event;
    struct api_config config;
    char server[64];
    struct credentials_snapshot snapshot;
    struct http_client *client;
    span_us total_limit;
    struct item items[MAX_ITEMS];
    size_t n;
    unsigned n_sent;
    unsigned n_responses;
    size_t n_done;
};

static void serve(struct connection *c, const char *head)
{
    const char *path = strchr(head, '/');

    if (str_after(path, "/busy ") != NULL) {
        server_printf(c, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    } else if (str_after(path, "/busy-for-some ") != NULL) {
        server_answer(c, "429 Slow", "");
    } else if (str_after(path, "/silent ") != NULL) {
        server_hang(c);
    } else if (str_after(path, "/watch ") != NULL) {
        server_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        server_hang(c);
    } else {
        server_answer(c, "200 OK", "{}");
    }
}

/* ---- requests */

static struct item *begin(struct fixture *f, const char *path, bool is_watch);

static void on_response(void *userdata, const struct http_response *response)
{
    struct item *item = userdata;

    item->status = response->status;
    item->f->n_responses++;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct item *item = userdata;

    assert_false(item->is_done);
    assert_int_equal(error == NULL, outcome == HTTP_COMPLETE);
    item->is_done = true;
    item->outcome = outcome;
    item->f->n_done++;
    item->request = http_request_free(item->request);
    if (item->sends_again)
        begin(item->f, "/ok", false);
}

static void on_sent(void *userdata)
{
    struct item *item = userdata;

    if (item->n_order == 0) /* a request is sent again when its connection was found dead */
        item->n_order = ++item->f->n_sent;
}

static int try_begin(struct fixture *f, const char *path, bool is_watch, struct error *e)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    struct item *item = &f->items[f->n];
    const struct http_call call = {
        .path = path,
        .total_limit = f->total_limit,
        .is_watch = is_watch,
        .on_sent = on_sent,
        .credentials = &f->snapshot,
    };
    int r;

    assert_true(f->n < MAX_ITEMS);
    *item = (struct item){.f = f};
    r = http_client_send(f->client, &call, &handler, item, &item->request, e);
    f->n += r >= 0;
    return r;
}

static struct item *begin(struct fixture *f, const char *path, bool is_watch)
{
    struct error e = ERROR_INIT;

    if (try_begin(f, path, is_watch, &e) < 0)
        fail_msg("%s", e.text);
    return &f->items[f->n - 1];
}

static void run(struct fixture *f)
{
    assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
}

static void run_until_done(struct fixture *f, const struct item *item)
{
    while (!item->is_done)
        run(f);
}

static void run_until_responses(struct fixture *f, unsigned n)
{
    while (f->n_responses < n)
        run(f);
}

static const struct http_stats *stats_of(const struct fixture *f)
{
    return http_client_stats(f->client);
}

static unsigned long n_failed(const struct fixture *f)
{
    const struct http_stats *stats = stats_of(f);

    for (size_t i = 0; i < stats->n_codes; i++)
        if (stats->codes[i].status == 0)
            return stats->codes[i].n;
    return 0;
}

static void connect_to(struct fixture *f, const char *scheme, int port)
{
    struct error e = ERROR_INIT;

    snprintf(f->server, sizeof(f->server), "%s://127.0.0.1:%d", scheme, port);
    f->config.server = f->server;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), 0);
    http_client_set_rate_limit(f->client, 0, 0);
}

static void connect_http2(struct fixture *f)
{
    static char name[] = "dummy";

    if (f->proxy.pid == 0)
        skip();
    f->snapshot.ca_pem = f->pair.cert_pem;
    f->config.tls_server_name = name;
    connect_to(f, "https", f->proxy.port);
}

static int group_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "%s", DIR_TEMPLATE);
    assert_non_null(mkdtemp(f->dir));
    f->pair = pair_make(3600);
    test_server_start(&f->plain, NULL, serve);
    http_proxy_start_limited(&f->proxy, f->dir, &f->pair, f->plain.port, FEW_STREAMS);
    *state = f;
    return 0;
}

static int group_teardown(void **state)
{
    struct fixture *f = *state;

    http_proxy_stop(&f->proxy, f->dir);
    test_server_stop(&f->plain);
    pair_unmake(&f->pair);
    free(f);
    return 0;
}

static int setup(void **state)
{
    static char origin[] = "the test";
    struct fixture *f = *state;

    f->config = (struct api_config){.origin = origin};
    f->snapshot = (struct credentials_snapshot){.authorization = "Bearer dummy"};
    f->total_limit = SPAN_SEC(60);
    f->n = f->n_done = f->n_responses = f->n_sent = 0;
    return sd_event_new(&f->event);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->n; i++)
        f->items[i].request = http_request_free(f->items[i].request);
    f->client = http_client_free(f->client);
    f->event = sd_event_unref(f->event);
    return 0;
}

/* ---- connections */

/*
 * The server allows fewer streams than assumed. Requests that do not fit wait for one connection,
 * and do not open one each.
 */
static void test_few_streams(void **state)
{
    struct fixture *f = *state;
    unsigned most = 0;

    connect_http2(f);
    for (unsigned i = 0; i < 5 * FEW_STREAMS; i++)
        begin(f, "/watch", true);
    while (f->n_responses < 5 * FEW_STREAMS) {
        run(f);
        if (stats_of(f)->connections > most)
            most = stats_of(f)->connections;
    }
    assert_int_equal(most, 5);
    for (unsigned i = 0; i < FEW_STREAMS; i++) {
        begin(f, "/watch", true);
        run_until_responses(f, 5 * FEW_STREAMS + i + 1);
    }
    assert_int_equal(stats_of(f)->connections, 6);
    assert_int_equal(n_failed(f), 0);
}

/* Requests that wait for room are sent when others end, too. */
static void test_room_by_those_that_end(void **state)
{
    struct fixture *f = *state;

    connect_http2(f);
    for (unsigned i = 0; i < 300; i++)
        begin(f, "/ok", false);
    while (f->n_done < 300)
        run(f);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(f->items[i].status, 200);
    assert_between(stats_of(f)->connections, 1, 7);
}

/* ---- answers */

/* So many without an answer, and no more; with each answer one follows. */
static void test_slow_server(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    for (unsigned i = 0; i < UNANSWERED_MAX - 1; i++)
        begin(f, "/silent", false);
    for (unsigned i = 0; i < 10; i++)
        begin(f, "/silent", false);
    begin(f, "/ok", false);
    while (f->n_sent < UNANSWERED_MAX)
        run(f);
    assert_int_equal(stats_of(f)->n_waiting, 10);
    for (unsigned i = 0; i < 11; i++) /* a response for each */
        f->items[i].request = http_request_free(f->items[i].request);
    run_until_done(f, &f->items[f->n - 1]);
    assert_int_equal(stats_of(f)->n_waiting, 0);
}

/* A volume waits for a list; a watch is for later changes. */
static void test_lists_before_watches(void **state)
{
    struct fixture *f = *state;
    struct item *lists[5], *watches[5];

    connect_to(f, "http", f->plain.port);
    http_client_set_rate_limit(f->client, 200, 1);
    begin(f, "/ok", false);
    for (size_t i = 0; i < 5; i++)
        watches[i] = begin(f, "/watch", true);
    for (size_t i = 0; i < 5; i++)
        lists[i] = begin(f, "/ok", false);
    assert_int_equal(stats_of(f)->n_waiting, 10);
    run_until_responses(f, 11);
    for (size_t i = 0; i < 5; i++) {
        assert_between(lists[i]->n_order, 2, 6);
        assert_between(watches[i]->n_order, 7, 11);
    }
}

/* The Retry-After of one response delays all requests that have not been sent, later ones, too. */
static void test_server_asks_for_a_rest(void **state)
{
    struct fixture *f = *state;
    struct item *busy, *later;
    mono_us begun_at = clock_mono();

    connect_to(f, "http", f->plain.port);
    busy = begin(f, "/busy", false);
    run_until_done(f, busy);
    assert_int_equal(busy->status, 429);
    later = begin(f, "/ok", false);
    assert_int_equal(stats_of(f)->n_waiting, 1);
    run_until_done(f, later);
    assert_int_equal(later->status, 200);
    assert_true(clock_mono() - begun_at >= SPAN_SEC(1));
}

/* Without Retry-After it is about that one request. */
static void test_one_is_too_many(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    run_until_done(f, begin(f, "/busy-for-some", false));
    begin(f, "/ok", false);
    assert_int_equal(stats_of(f)->n_waiting, 0);
}

/* ---- a server that is not there */

/* One finds out for all. */
static void test_others_do_not_retry_a_refused_connection(void **state)
{
    int port, listener = server_listen(&port);
    struct fixture *f = *state;

    close(listener);
    connect_to(f, "https", port);
    for (unsigned i = 0; i < 200; i++)
        begin(f, "/ok", i % 2 == 0);
    while (f->n_done < 200)
        run(f);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(f->items[i].outcome, HTTP_REFUSED);
    assert_int_equal(n_failed(f), 1);
    assert_int_equal(stats_of(f)->n_waiting, 0);
    assert_int_equal(stats_of(f)->connections, 0);
}

/* A connection that is never established is not counted, and requests that wait for it fail. */
static void test_connection_never_comes(void **state)
{
    int port, listener = server_listen(&port), fillers[8];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)port)};
    struct fixture *f = *state;

    assert_int_equal(listen(listener, 0), 0);
    for (size_t i = 0; i < ELEMENTS_OF(fillers); i++) { /* the server does not accept them */
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (struct sockaddr *)&address, sizeof(address));
    }
    f->total_limit = SPAN_MS(100);
    connect_to(f, "https", port);
    for (unsigned i = 0; i < 10; i++)
        begin(f, "/ok", false);
    while (f->n_done < 10)
        run(f);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(f->items[i].outcome, HTTP_TIMED_OUT);
    assert_int_equal(n_failed(f), 1);
    assert_int_equal(stats_of(f)->connections, 0);
    for (size_t i = 0; i < ELEMENTS_OF(fillers); i++)
        close(fillers[i]);
    close(listener);
}

/* A request that is sent while the others fail is tried. */
static void test_who_comes_again(void **state)
{
    int port, listener = server_listen(&port);
    struct fixture *f = *state;

    close(listener);
    connect_to(f, "https", port);
    for (unsigned i = 0; i < 10; i++)
        begin(f, "/ok", false)->sends_again = true;
    while (f->n_done < 20)
        run(f);
    assert_int_equal(f->n, 20);
}

/* ---- limits */

static void test_too_many_wait(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    connect_to(f, "http", f->plain.port);
    http_client_set_rate_limit(f->client, 1, 1);
    for (unsigned i = 0; i < QUEUED_MAX + 1; i++) /* the first one is sent */
        begin(f, "/ok", true);
    assert_int_equal(stats_of(f)->n_waiting, QUEUED_MAX);
    assert_int_equal(try_begin(f, "/ok", true, &e), -EAGAIN);
    assert_non_null(strstr(e.text, "cannot send a request to http://127.0.0.1"));
    f->items[7].request = http_request_free(f->items[7].request);
    assert_int_equal(try_begin(f, "/ok", true, &e), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_few_streams),
        TEST(test_room_by_those_that_end),
        TEST(test_slow_server),
        TEST(test_lists_before_watches),
        TEST(test_server_asks_for_a_rest),
        TEST(test_one_is_too_many),
        TEST(test_others_do_not_retry_a_refused_connection),
        TEST(test_connection_never_comes),
        TEST(test_who_comes_again),
        TEST(test_too_many_wait),
    };

    alarm(120); /* a test that waits in vain */
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests_name("admission", tests, group_setup, group_teardown);
}
