/* SPDX-License-Identifier: Apache-2.0 */
/* Requests whose connection the server ends, or whose stream it refuses: none fails or is lost. */
#include "fetcher/http/client.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/unit/http2_server.h"

#define ITEMS_MAX 20u
#define SENDS_MAX 4u

#define QUEUED_MAX 16384u

struct item {
    struct fixture *f;
    struct http_request *request;
    int status;
    unsigned n_sent;
    struct buf body;
    bool is_done;
    enum http_outcome outcome;
    struct error error;
    unsigned freed_at_send; /* which one; 0: none */
    bool frees_all;         /* when it is done */
};

struct fixture {
    struct made_pair pair; /* its name is "dummy" */
    struct test_server server;
    sd_event *event;
    struct api_config config;
    char url[64];
    struct credentials_snapshot snapshot;
    struct http_client *client;
    span_us total_limit;
    struct item items[ITEMS_MAX];
    size_t n;
};

/* ---- requests */

static void on_response(void *userdata, const struct http_response *response)
{
    struct item *item = userdata;

    item->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct item *item = userdata;

    assert_int_equal(buf_add(&item->body, bytes, len), 0);
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct item *item = userdata;

    assert_false(item->is_done);
    item->is_done = true;
    item->outcome = outcome;
    if (error != NULL)
        item->error = *error;
    for (size_t i = 0; item->frees_all && i < item->f->n; i++)
        item->f->items[i].request = http_request_free(item->f->items[i].request);
}

static void on_sent(void *userdata)
{
    struct item *item = userdata;

    item->n_sent++;
    if (item->n_sent == item->freed_at_send)
        item->request = http_request_free(item->request);
}

static struct item *begin_call(struct fixture *f, struct http_call call)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    struct item *item = &f->items[f->n++];
    struct error e = ERROR_INIT;

    assert_true(f->n <= ITEMS_MAX);
    call.path = "/x";
    call.total_limit = f->total_limit;
    call.on_sent = on_sent;
    call.credentials = &f->snapshot;
    *item = (struct item){.f = f, .body = BUF_INIT(4096)};
    if (http_client_send(f->client, &call, &handler, item, &item->request, &e) < 0)
        fail_msg("%s", e.text);
    return item;
}

static struct item *begin(struct fixture *f)
{
    return begin_call(f, (struct http_call){.body = NULL});
}

static struct item *begin_post(struct fixture *f)
{
    return begin_call(f, (struct http_call){.body = "{}"});
}

static void run_until_done(struct item *item)
{
    while (!item->is_done)
        assert_true(sd_event_run(item->f->event, UINT64_MAX) >= 0);
}

static void run_until_sent(struct item *item)
{
    while (item->n_sent == 0)
        assert_true(sd_event_run(item->f->event, UINT64_MAX) >= 0);
}

static void expect_answer(struct item *item)
{
    run_until_done(item);
    if (item->outcome != HTTP_COMPLETE)
        fail_msg("sent %u times: %s", item->n_sent, item->error.text);
    assert_int_equal(item->status, 200);
    assert_string_equal(buf_text(&item->body), "ok");
}

static void expect_failure(struct item *item, unsigned n_sent)
{
    run_until_done(item);
    assert_int_equal(item->outcome, HTTP_FAILED);
    assert_int_equal(item->n_sent, n_sent);
}

/* A watch that goes on until the test ends. */
static struct item *begin_watch(struct fixture *f)
{
    struct item *item = begin(f);

    while (!streq(buf_text(&item->body), "first")) {
        assert_false(item->is_done);
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    }
    return item;
}

static unsigned n_connections(struct fixture *f)
{
    return http_client_stats(f->client)->connections;
}

static void begin_client(struct fixture *f, const char *scheme)
{
    static char name[] = "dummy";
    struct error e = ERROR_INIT;

    snprintf(f->url, sizeof(f->url), "%s://127.0.0.1:%d", scheme, f->server.port);
    f->config.server = f->url;
    f->config.tls_server_name = name;
    f->snapshot.ca_pem = f->pair.cert_pem;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), 0);
}

static void connect_to(struct fixture *f, http_serve_fn *serve)
{
    http2_server_start(&f->server, &f->pair, serve);
    begin_client(f, "https");
}

static int group_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->pair = pair_make(3600);
    *state = f;
    return 0;
}

static int group_teardown(void **state)
{
    struct fixture *f = *state;

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
    f->total_limit = SPAN_SEC(30);
    f->n = 0;
    return sd_event_new(&f->event);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->n; i++) {
        f->items[i].request = http_request_free(f->items[i].request);
        buf_deinit(&f->items[i].body);
    }
    f->client = http_client_free(f->client);
    f->event = sd_event_unref(f->event);
    test_server_stop(&f->server);
    return 0;
}

/* What a connection does on which nothing is refused. */
static void serve_well(struct http2 *h)
{
    for (;;)
        http2_answer(h, http2_accept(h));
}

/* ---- refused streams */

/* GOAWAY crosses a request on its way, while a watch keeps the connection open. */
static void serve_goaway_beside_watch(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_begin_watch(&h, http2_accept(&h));
    http2_go_away(&h, http2_accept(&h) - 2, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_goaway_beside_watch(void **state)
{
    struct fixture *f = *state;
    struct item *watch;

    connect_to(f, serve_goaway_beside_watch);
    watch = begin_watch(f);
    expect_answer(begin(f));
    expect_answer(begin(f));
    assert_false(watch->is_done);
    assert_int_equal(n_connections(f), 2);
}

static void test_goaway_beside_watch_post(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_beside_watch);
    begin_watch(f);
    expect_answer(begin_post(f));
}

/* The same for many, which then share one other connection. */
static void test_goaway_refuses_many(void **state)
{
    struct fixture *f = *state;
    struct item *watch;

    connect_to(f, serve_goaway_beside_watch);
    watch = begin_watch(f);
    for (size_t i = 0; i < 10; i++)
        begin(f);
    for (size_t i = 1; i < f->n; i++)
        expect_answer(&f->items[i]);
    assert_false(watch->is_done);
    assert_int_equal(n_connections(f), 2);
}

/* GOAWAY crosses a request on its way, and no other stream is open. */
static void serve_goaway_alone(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_answer(&h, http2_accept(&h));
    stream = http2_accept(&h);
    http2_go_away(&h, stream - 2, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_goaway_alone(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_alone);
    expect_answer(begin(f));
    expect_answer(begin(f));
}

/* libcurl does not tell whether the server processed a request then. */
static void test_goaway_alone_post(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_alone);
    expect_answer(begin(f));
    expect_answer(begin_call(f, (struct http_call){.body = "{}", .is_repeatable = true}));
}

static void test_goaway_alone_patch(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_alone);
    expect_answer(begin(f));
    expect_answer(begin_call(f, (struct http_call){.body = "{}", .is_patch = true}));
}

/* The first request of a connection is refused. */
static void serve_goaway_at_once(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_accept(&h);
    http2_go_away(&h, 0, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_goaway_at_once(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_at_once);
    for (size_t i = 0; i < 10; i++)
        begin(f);
    for (size_t i = 0; i < f->n; i++)
        expect_answer(&f->items[i]);
}

/* The stream alone is refused. */
static void serve_refused_stream(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_begin_watch(&h, http2_accept(&h));
    http2_reset(&h, http2_accept(&h), HTTP2_REFUSED_STREAM);
    http2_hang(&h);
}

static void test_refused_stream(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_refused_stream);
    begin_watch(f);
    expect_answer(begin(f));
}

/* A body was sent with it. */
static void test_refused_post(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_refused_stream);
    begin_watch(f);
    expect_answer(begin_post(f));
}

/*
 * A request is refused while another one opens a connection that has no room for it: it waits for
 * that one's response, which is no reason for libcurl to run again.
 */
static sem_t refuse_now, respond_now; /* of the server */

static void serve_refusal_while_opening(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    if (c->number > 2) {
        http2_begin(&h, c, 100);
        serve_well(&h);
    }
    http2_begin(&h, c, c->number == 1 ? 2 : 1);
    stream = http2_accept(&h);
    if (c->number == 1) {
        http2_begin_watch(&h, stream);
        stream = http2_accept(&h);
        sem_wait(&refuse_now);
        http2_reset(&h, stream, HTTP2_REFUSED_STREAM);
        http2_settle(&h);
        sem_post(&respond_now);
    } else {
        http2_settle(&h);
        sem_post(&refuse_now);
        sem_wait(&respond_now);
        http2_begin_watch(&h, stream);
    }
    http2_hang(&h);
}

static void test_refusal_while_another_connection_opens(void **state)
{
    struct fixture *f = *state;
    struct item *refused, *opener;

    sem_init(&refuse_now, 0, 0);
    sem_init(&respond_now, 0, 0);
    connect_to(f, serve_refusal_while_opening);
    begin_watch(f);
    refused = begin(f);
    run_until_sent(refused);
    opener = begin(f);
    expect_answer(refused);
    assert_int_equal(opener->status, 200);
    assert_int_equal(n_connections(f), 3);
}

/* The server lowers its limit below what is open, and refuses what crosses that on its way. */
static void serve_lower_limit(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_begin_watch(&h, http2_accept(&h));
    http2_begin_watch(&h, http2_accept(&h));
    http2_limit_streams(&h, 1);
    http2_reset(&h, http2_accept(&h), HTTP2_REFUSED_STREAM);
    http2_hang(&h);
}

static void test_lower_limit(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_lower_limit);
    begin_watch(f);
    begin_watch(f);
    for (size_t i = 0; i < 5; i++)
        expect_answer(begin(f));
    assert_int_equal(n_connections(f), 2);
}

/* What was delivered cannot be taken back: a response that had begun is not asked for again. */
static void serve_refuse_begun(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    stream = http2_accept(&h);
    http2_begin_watch(&h, stream);
    http2_settle(&h);
    if (c->number == 1)
        http2_go_away(&h, 0, HTTP2_NO_ERROR);
    else
        http2_reset(&h, stream, HTTP2_REFUSED_STREAM);
    http2_hang(&h);
}

static void test_refused_after_response(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_refuse_begun);
    for (size_t i = 0; i < 2; i++) {
        struct item *watch = begin(f);

        expect_failure(watch, 1);
        assert_string_equal(buf_text(&watch->body), "first");
    }
}

/* Only an interim response came. */
static void serve_refuse_after_interim(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_begin_watch(&h, http2_accept(&h));
    stream = http2_accept(&h);
    http2_early_hints(&h, stream);
    http2_reset(&h, stream, HTTP2_REFUSED_STREAM);
    http2_hang(&h);
}

static void test_refused_after_interim_response(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_refuse_after_interim);
    begin_watch(f);
    expect_answer(begin(f));
}

/* ---- GOAWAY beside a request */

/* With the end of a response, in one segment. The request after it is submitted before the loop
 * runs. */
static void serve_goaway_with_response(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    for (unsigned n = 0;; n++) {
        stream = http2_accept(&h);
        http2_answer(&h, stream);
        http2_go_away(&h, stream, HTTP2_NO_ERROR);
        http2_accept(&h); /* not answered */
    }
}

static void test_goaway_with_response(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_with_response);
    for (size_t i = 0; i < 10; i++)
        expect_answer(begin(f));
}

/* The connection ends as well. All of it waits in the socket when the next request is submitted. */
static void serve_goaway_and_close(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    stream = http2_accept(&h);
    http2_answer(&h, stream);
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_close(&h);
}

static void test_goaway_and_close(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_and_close);
    for (size_t i = 0; i < 10; i++)
        expect_answer(begin(f));
}

/* The same beside a watch, for each connection. */
static void serve_goaway_with_watch(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    stream = http2_accept(&h);
    http2_begin_watch(&h, stream);
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_goaway_with_each_watch(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_with_watch);
    for (size_t i = 0; i < 10; i++)
        begin_watch(f);
    assert_int_equal(n_connections(f), 10);
}

/* Before the response of the request that opened the connection, while others wait for it. */
static void serve_goaway_before_response(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 1);
    stream = http2_accept(&h);
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_settle(&h);
    http2_begin_watch(&h, stream);
    http2_hang(&h);
}

static void test_goaway_before_response(void **state)
{
    struct fixture *f = *state;
    struct item *items[3];

    connect_to(f, serve_goaway_before_response);
    begin_watch(f);
    for (size_t i = 0; i < 3; i++)
        items[i] = begin(f);
    for (size_t i = 0; i < 3; i++)
        while (items[i]->status == 0) {
            assert_false(items[i]->is_done);
            assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
        }
    assert_int_equal(n_connections(f), 4);
}

/* It is processed, and answered after GOAWAY. */
static void serve_goaway_then_answer(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    stream = http2_accept(&h);
    http2_go_away(&h, 0x7fffffff, HTTP2_NO_ERROR);
    http2_settle(&h);
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_settle(&h);
    http2_answer(&h, stream);
    http2_hang(&h);
}

static void test_graceful_goaway(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_goaway_then_answer);
    for (size_t i = 0; i < 5; i++) {
        struct item *item = begin(f);

        expect_answer(item);
        assert_int_equal(item->n_sent, 1);
    }
}

/* ---- others that wait */

/*
 * The connection of a watch takes no more streams. Requests that are not answered on another one
 * keep no others from it.
 */
static void serve_goaway_and_silence(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    stream = http2_accept(&h);
    if (c->number == 1) {
        http2_begin_watch(&h, stream);
        http2_go_away(&h, stream, HTTP2_NO_ERROR);
        http2_hang(&h);
    }
    http2_answer(&h, stream);
    for (unsigned i = 0; i < 3; i++)
        http2_accept(&h);
    serve_well(&h);
}

static void test_silence_beside_goaway(void **state)
{
    struct fixture *f = *state;
    struct item *watch;

    connect_to(f, serve_goaway_and_silence);
    watch = begin_watch(f);
    expect_answer(begin(f));
    for (size_t i = 0; i < 3; i++)
        begin(f);
    expect_answer(begin(f));
    assert_false(watch->is_done);
    for (size_t i = 2; i < 5; i++)
        assert_false(f->items[i].is_done);
}

/* Two are refused with their connection; then one of them alone, and the other is not answered. */
static void serve_refuse_beside_silence(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 2)
        serve_well(&h);
    stream = http2_accept(&h);
    if (c->number == 1) {
        http2_answer(&h, stream);
        http2_accept(&h);
        http2_accept(&h);
        http2_go_away(&h, stream, HTTP2_NO_ERROR);
    } else {
        http2_reset(&h, http2_accept(&h), HTTP2_REFUSED_STREAM);
    }
    http2_hang(&h);
}

static void test_refusal_beside_silence(void **state)
{
    struct fixture *f = *state;
    struct item *items[2];

    connect_to(f, serve_refuse_beside_silence);
    expect_answer(begin(f));
    items[0] = begin(f);
    items[1] = begin(f);
    while (!items[0]->is_done && !items[1]->is_done)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    expect_answer(items[0]->is_done ? items[0] : items[1]);
}

/* A request that was refused goes before those that the rate limit keeps waiting. */
static void test_refused_goes_before_others(void **state)
{
    struct fixture *f = *state;
    struct item *refused;

    connect_to(f, serve_goaway_beside_watch);
    http_client_set_rate_limit(f->client, 1, 2);
    begin_watch(f);
    refused = begin(f);
    for (size_t i = 0; i < 15; i++)
        begin(f);
    expect_answer(refused);
    assert_int_equal(f->items[f->n - 1].n_sent, 0);
}

/* The server asks for a pause, and refuses another request. */
static void serve_pause_and_refuse(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        serve_well(&h);
    http2_begin_watch(&h, http2_accept(&h));
    stream = http2_accept(&h);
    http2_accept(&h);
    http2_ask_for_pause(&h, stream, '1');
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_refused_waits_for_pause(void **state)
{
    struct fixture *f = *state;
    struct item *busy, *refused;
    mono_us answered_at;

    connect_to(f, serve_pause_and_refuse);
    begin_watch(f);
    busy = begin(f);
    refused = begin(f);
    run_until_done(busy);
    answered_at = clock_mono();
    assert_int_equal(busy->status, 429);
    expect_answer(refused);
    assert_true(clock_mono() - answered_at >= SPAN_MS(900)); /* the response came a little before */
}

/* ---- a proxy */

/* It carries one connection, which ends without a response, and has no server for others. */
static const struct made_pair *tunnel_pair;

static void serve_proxy(struct connection *c, const char *head)
{
    static char buffer[HEAD_MAX];

    if (c->number > 1) {
        server_answer(c, "502 Bad Gateway", "");
        return;
    }
    server_printf(c, "HTTP/1.1 200 OK\r\n\r\n");
    c->ssl = SSL_new(server_tls(tunnel_pair));
    (void)SSL_set_fd(c->ssl, c->fd);
    if (SSL_accept(c->ssl) > 0)
        server_read_head(c, buffer);
    c->wants_close = true;
}

static void test_proxy_loses_its_server(void **state)
{
    struct fixture *f = *state;
    char url[64];

    tunnel_pair = &f->pair;
    unsetenv("no_proxy");
    test_server_start(&f->server, NULL, serve_proxy);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", f->server.port);
    f->config.proxy_url = url;
    begin_client(f, "https");
    expect_failure(begin(f), 1);
    setenv("no_proxy", "*", 1);
}

/* ---- the end of a connection */

/* The connection ends instead of a response; with GOAWAY before it, which promised one. */
static void serve_close(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 2)
        serve_well(&h);
    stream = http2_accept(&h);
    if (c->number == 2)
        http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_flush(&h);
    c->wants_close = true;
}

static void test_close_without_response(void **state)
{
    struct fixture *f = *state;
    struct item *item;

    connect_to(f, serve_close);
    item = begin(f);
    expect_answer(item);
    assert_int_equal(item->n_sent, 3);
}

/* A server that breaks each connection. */
static void serve_close_always(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    http2_accept(&h);
    c->wants_close = true;
}

static void test_close_always(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_close_always);
    expect_failure(begin(f), SENDS_MAX);
}

/* HTTP/1.1, each connection for one response, without a word about it. */
static void serve_http1_once(struct connection *c, const char *head)
{
    server_answer(c, "200 OK", "ok");
    c->wants_close = true;
}

static void test_http1_closes_after_each_response(void **state)
{
    struct fixture *f = *state;

    test_server_start(&f->server, NULL, serve_http1_once);
    begin_client(f, "http");
    for (size_t i = 0; i < 5; i++)
        expect_answer(begin(f));
    for (size_t i = 0; i < 10; i++)
        begin(f);
    for (size_t i = 0; i < f->n; i++)
        expect_answer(&f->items[i]);
}

/* A POST may have been processed. */
static void test_close_at_post(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_close_always);
    expect_failure(begin_post(f), 1);
}

/* ---- limits */

/* Refuses each request, on connections that stay. */
static void serve_refuse_always(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number == 1)
        http2_begin_watch(&h, http2_accept(&h));
    for (;;)
        http2_reset(&h, http2_accept(&h), HTTP2_REFUSED_STREAM);
}

static void test_refused_always(void **state)
{
    struct fixture *f = *state;
    struct item *items[3], *watch;

    connect_to(f, serve_refuse_always);
    watch = begin_watch(f);
    for (size_t i = 0; i < ELEMENTS_OF(items); i++)
        items[i] = begin(f);
    for (size_t i = 0; i < ELEMENTS_OF(items); i++) {
        run_until_done(items[i]);
        assert_int_equal(items[i]->outcome, HTTP_FAILED);
        assert_true(items[i]->n_sent >= SENDS_MAX);
    }
    assert_false(watch->is_done);
}

/* Refuses by GOAWAY on each connection, beside a watch on the first one. */
static void serve_goaway_always(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    if (c->number == 1)
        http2_begin_watch(&h, http2_accept(&h));
    http2_accept(&h);
    http2_go_away(&h, c->number == 1 ? 1 : 0, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_goaway_always(void **state)
{
    struct fixture *f = *state;
    struct item *watch;

    connect_to(f, serve_goaway_always);
    watch = begin_watch(f);
    for (size_t i = 0; i < 3; i++)
        begin(f);
    for (size_t i = 1; i < f->n; i++) {
        run_until_done(&f->items[i]);
        assert_int_equal(f->items[i].outcome, HTTP_FAILED);
    }
    assert_false(watch->is_done);
    assert_int_equal(n_connections(f), 1);
}

/* The queue has a maximum also after requests were queued again above it. */
static void serve_pause_and_refuse_later(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;
    char byte;

    http2_begin(&h, c, 100);
    http2_begin_watch(&h, http2_accept(&h));
    stream = http2_accept(&h);
    http2_accept(&h);
    http2_ask_for_pause(&h, stream, '9');
    http2_flush(&h);
    if (read(c->control_fd, &byte, 1) == 1)
        http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static int try_send(struct fixture *f, struct item *item)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    const struct http_call call = {
        .path = "/x", .total_limit = f->total_limit, .credentials = &f->snapshot};
    struct error e = ERROR_INIT;

    *item = (struct item){.f = f, .body = BUF_INIT(4096)};
    return http_client_send(f->client, &call, &handler, item, &item->request, &e);
}

static void test_queued_again_above_the_maximum(void **state)
{
    static struct item waiting[QUEUED_MAX + 1];
    struct fixture *f = *state;
    struct item *busy;

    connect_to(f, serve_pause_and_refuse_later);
    begin_watch(f);
    busy = begin(f);
    begin(f);
    run_until_done(busy);
    for (size_t i = 0; i < QUEUED_MAX; i++)
        assert_int_equal(try_send(f, &waiting[i]), 0);
    assert_int_equal(write(f->server.control_fd, "", 1), 1);
    while (http_client_stats(f->client)->n_waiting <= QUEUED_MAX)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    assert_int_equal(try_send(f, &waiting[QUEUED_MAX]), -EAGAIN);
    for (size_t i = 0; i < QUEUED_MAX; i++)
        http_request_free(waiting[i].request);
}

/* ---- requests that are freed */

/* While they are queued again. */
static void serve_refuse_two(struct connection *c, const char *head)
{
    struct http2 h;
    unsigned stream;

    http2_begin(&h, c, 100);
    if (c->number > 1)
        http2_hang(&h);
    stream = http2_accept(&h);
    http2_begin_watch(&h, stream);
    http2_accept(&h);
    http2_accept(&h);
    http2_go_away(&h, stream, HTTP2_NO_ERROR);
    http2_hang(&h);
}

static void test_freed_while_queued_again(void **state)
{
    struct fixture *f = *state;
    struct item *refused[2];

    connect_to(f, serve_refuse_two);
    begin_watch(f);
    refused[0] = begin(f);
    refused[1] = begin(f);
    while (refused[0]->n_sent + refused[1]->n_sent < 3)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    assert_int_equal(http_client_stats(f->client)->n_waiting, 1);
    for (size_t i = 0; i < 2; i++)
        refused[i]->request = http_request_free(refused[i]->request);
    assert_int_equal(http_client_stats(f->client)->n_waiting, 0);
}

/* When it is sent again. */
static void test_freed_when_sent_again(void **state)
{
    struct fixture *f = *state;
    struct item *item;

    connect_to(f, serve_goaway_beside_watch);
    begin_watch(f);
    item = begin(f);
    item->freed_at_send = 2;
    while (item->request != NULL)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    expect_answer(begin(f));
    assert_false(item->is_done);
}

/* By the first of them that is reported. */
static void test_handler_frees_others(void **state)
{
    struct fixture *f = *state;
    size_t n_done = 0;

    connect_to(f, serve_refuse_always);
    begin_watch(f);
    for (size_t i = 0; i < 5; i++)
        begin(f)->frees_all = true;
    while (f->items[1].request != NULL)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    for (size_t i = 0; i < f->n; i++)
        n_done += f->items[i].is_done;
    assert_int_equal(n_done, 1);
}

/* The server ends the stream for another reason. */
static void serve_calm(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    for (;;)
        http2_reset(&h, http2_accept(&h), HTTP2_ENHANCE_YOUR_CALM);
}

static void test_reset_is_no_refusal(void **state)
{
    struct fixture *f = *state;

    connect_to(f, serve_calm);
    expect_failure(begin(f), 1);
    expect_failure(begin(f), 1);
}

/* Two attempts take longer than the request's limit, one does not. */
static void serve_close_slowly(struct connection *c, const char *head)
{
    struct http2 h;

    http2_begin(&h, c, 100);
    http2_accept(&h);
    usleep(600000);
    c->wants_close = true;
}

static void test_total_limit_for_all_attempts(void **state)
{
    struct fixture *f = *state;
    struct item *item;

    connect_to(f, serve_close_slowly);
    f->total_limit = SPAN_SEC(1);
    item = begin(f);
    run_until_done(item);
    assert_int_equal(item->outcome, HTTP_TIMED_OUT);
    assert_true(item->n_sent <= 2); /* 1: the machine is busy */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_goaway_beside_watch),
        TEST(test_goaway_beside_watch_post),
        TEST(test_goaway_refuses_many),
        TEST(test_goaway_alone),
        TEST(test_goaway_alone_post),
        TEST(test_goaway_alone_patch),
        TEST(test_goaway_at_once),
        TEST(test_refused_stream),
        TEST(test_refused_post),
        TEST(test_refusal_while_another_connection_opens),
        TEST(test_lower_limit),
        TEST(test_refused_after_response),
        TEST(test_refused_after_interim_response),
        TEST(test_goaway_with_response),
        TEST(test_goaway_and_close),
        TEST(test_goaway_with_each_watch),
        TEST(test_goaway_before_response),
        TEST(test_graceful_goaway),
        TEST(test_silence_beside_goaway),
        TEST(test_refusal_beside_silence),
        TEST(test_refused_goes_before_others),
        TEST(test_refused_waits_for_pause),
        TEST(test_proxy_loses_its_server),
        TEST(test_close_without_response),
        TEST(test_close_always),
        TEST(test_close_at_post),
        TEST(test_http1_closes_after_each_response),
        TEST(test_refused_always),
        TEST(test_goaway_always),
        TEST(test_queued_again_above_the_maximum),
        TEST(test_freed_while_queued_again),
        TEST(test_freed_when_sent_again),
        TEST(test_handler_frees_others),
        TEST(test_reset_is_no_refusal),
        TEST(test_total_limit_for_all_attempts),
    };

    alarm(120); /* a test that waits in vain */
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests_name("resend", tests, group_setup, group_teardown);
}
