/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/client.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/unit/assert_between.h"
#include "tests/unit/test_server.h"

#define DIR_TEMPLATE "/tmp/test-http-XXXXXX"

struct fixture {
    struct made_pair pair; /* its name is "dummy" */
    struct test_server plain;
    struct test_server tls;
    struct http_proxy proxy; /* HTTP/2 in front of plain */
    char dir[sizeof(DIR_TEMPLATE)];
    sd_event *event;
    struct api_config config;
    char server[64];
    struct credentials_snapshot snapshot;
    struct http_client *client;
    struct http_request *requests[300]; /* not freed yet, for when a test fails */
};

enum moment { THEN_NEVER, THEN_AT_RESPONSE, THEN_AT_BODY, THEN_AT_END };

/* One request and its outcome. */
struct exchange {
    struct fixture *f;
    struct http_request *request;
    struct http_response response;
    char content_type[64];
    struct buf body;
    bool is_done;
    enum http_outcome outcome;
    struct error error;
    void (*then)(struct exchange *x); /* called at an event that the test chose; NULL: none */
    enum moment when;
    struct exchange *other; /* for it */
};

/* ---- the server */

static void serve_bytes(struct connection *c, size_t n)
{
    char piece[4096];

    memset(piece, 'x', sizeof(piece));
    server_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    for (size_t sent = 0; sent < n; sent += sizeof(piece))
        server_write(c, piece, n - sent < sizeof(piece) ? n - sent : sizeof(piece));
}

static void serve_date(struct connection *c)
{
    time_t at = time(NULL) + 60;
    char text[64];
    struct tm utc;

    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &utc));
    server_printf(c, "HTTP/1.1 503 No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", text);
}

static const struct {
    const char *path;
    const char *answer;
    enum { GO_ON, CLOSE, HANG } then;
} served[] = {
    {"/cut ", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", CLOSE},
    {"/reset ", "", CLOSE},
    {"/silent ", "", HANG},
    {"/watch ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", HANG},
    {"/chunks ",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
     GO_ON},
    {"/wait ", "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", GO_ON},
    {"/wait-long ", "HTTP/1.1 429 Slow\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n",
     GO_ON},
    {"/wait-never ", "HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", GO_ON},
    {"/away ", "HTTP/1.1 302 Away\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n", GO_ON},
    {"/cookie ", "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n", GO_ON},
    {"/early ",
     "HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
     GO_ON},
    {"/trailer ",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: "
     "y\r\n\r\n",
     GO_ON},
};

/* How many bytes the body had that were 'b', as all of them should be. */
static size_t read_body(struct connection *c, const char *head)
{
    const char *length = strcasestr(head, "\r\ncontent-length: ");
    size_t n_good = 0, left = length != NULL ? strtoul(length + 18, NULL, 10) : 0;
    char piece[4096];

    while (left > 0) {
        size_t n = server_read(c, piece, left < sizeof(piece) ? left : sizeof(piece));

        for (size_t i = 0; i < n; i++)
            n_good += piece[i] == 'b';
        left -= n;
    }
    return n_good;
}

static void serve_post(struct connection *c, const char *head)
{
    char text[4096];

    snprintf(text, sizeof(text), "%sbody of %zu b", head, read_body(c, head));
    server_answer(c, "201 Created", text);
}

static void serve(struct connection *c, const char *head)
{
    const char *path = strchr(head, '/');

    if (str_after(head, "CONNECT ") != NULL) {
        server_answer(c, "403 Forbidden", "");
    } else if (str_after(path, "/bytes/") != NULL) {
        serve_bytes(c, strtoul(path + strlen("/bytes/"), NULL, 10));
    } else if (str_after(path, "/post ") != NULL) {
        serve_post(c, head);
    } else if (str_after(path, "/echo") != NULL) {
        server_answer(c, "200 OK", head);
    } else if (str_after(path, "/wait-date ") != NULL) {
        serve_date(c);
    } else {
        for (size_t i = 0; i < ELEMENTS_OF(served); i++) {
            if (str_after(path, served[i].path) == NULL)
                continue;
            server_printf(c, "%s", served[i].answer);
            c->wants_close = served[i].then == CLOSE;
            if (served[i].then == HANG)
                server_hang(c);
            return;
        }
        server_answer(c, "404 Not Found", "");
    }
}

/* ---- the client */

static void on_response(void *userdata, const struct http_response *response)
{
    struct exchange *x = userdata;

    assert_int_equal(x->response.status, 0);
    assert_false(x->is_done);
    x->response = *response;
    snprintf(x->content_type, sizeof(x->content_type), "%s", response->content_type);
    if (x->when == THEN_AT_RESPONSE)
        x->then(x);
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct exchange *x = userdata;

    assert_int_not_equal(x->response.status, 0);
    assert_int_equal(buf_add(&x->body, bytes, len), 0);
    if (x->when == THEN_AT_BODY)
        x->then(x);
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct exchange *x = userdata;

    assert_false(x->is_done);
    x->is_done = true;
    x->outcome = outcome;
    assert_int_equal(outcome == HTTP_COMPLETE, error == NULL);
    if (error != NULL)
        x->error = *error;
    if (x->when == THEN_AT_END)
        x->then(x);
}

/* In the fixture's list, @from becomes @to. */
static void note_request(struct fixture *f, struct http_request *from, struct http_request *to)
{
    size_t i;

    for (i = 0; i < ELEMENTS_OF(f->requests) && f->requests[i] != from; i++)
        continue;
    assert_true(i < ELEMENTS_OF(f->requests));
    f->requests[i] = to;
}

static void free_request(struct exchange *x)
{
    if (x->request == NULL)
        return;
    note_request(x->f, x->request, NULL);
    x->request = http_request_free(x->request);
}

static const struct http_handler exchange_handler = {on_response, on_body, on_done};

static void begin_call(struct exchange *x, struct fixture *f, const struct http_call *call)
{
    struct error e = ERROR_INIT;

    x->f = f;
    x->body = BUF_INIT(4u << 20);
    assert_int_equal(http_client_send(f->client, call, &exchange_handler, x, &x->request, &e), 0);
    note_request(f, NULL, x->request);
}

static void begin_limited(struct exchange *x, struct fixture *f, const char *path, span_us limit)
{
    const struct http_call call = {.path = path, .total_limit = limit, .credentials = &f->snapshot};

    begin_call(x, f, &call);
}

static void begin(struct exchange *x, struct fixture *f, const char *path)
{
    begin_limited(x, f, path, SPAN_SEC(30));
}

static void finish(struct exchange *x)
{
    free_request(x);
    buf_deinit(&x->body);
}

static void run_until_done(struct exchange *x)
{
    while (!x->is_done)
        assert_true(sd_event_run(x->f->event, UINT64_MAX) >= 0);
}

static void run_until_body(struct exchange *x, const char *text)
{
    while (!streq(buf_text(&x->body), text))
        assert_true(sd_event_run(x->f->event, UINT64_MAX) >= 0);
}

/* A complete exchange; @x has its outcome, and needs finish(). */
static void exchange(struct exchange *x, struct fixture *f, const char *path)
{
    begin(x, f, path);
    run_until_done(x);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", text, part);
}

static void assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" has \"%s\" in it", text, part);
}

static void connect_to(struct fixture *f, const char *scheme, int port)
{
    struct error e = ERROR_INIT;

    snprintf(f->server, sizeof(f->server), "%s://127.0.0.1:%d", scheme, port);
    f->config.server = f->server;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), 0);
}

static void trust_dummy(struct fixture *f)
{
    static char name[] = "dummy";

    f->snapshot.ca_pem = f->pair.cert_pem;
    f->config.tls_server_name = name;
}

/* To the proxy; skips the test without one. */
static void connect_http2(struct fixture *f)
{
    if (f->proxy.pid == 0)
        skip();
    trust_dummy(f);
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
    test_server_start(&f->tls, &f->pair, serve);
    http_proxy_start(&f->proxy, f->dir, &f->pair, f->plain.port);
    *state = f;
    return 0;
}

static int group_teardown(void **state)
{
    struct fixture *f = *state;

    http_proxy_stop(&f->proxy, f->dir);
    test_server_stop(&f->plain);
    test_server_stop(&f->tls);
    pair_unmake(&f->pair);
    free(f);
    return 0;
}

static int setup(void **state)
{
    static char origin[] = "the test";
    struct fixture *f = *state;

    f->config = (struct api_config){.origin = origin};
    f->snapshot = (struct credentials_snapshot){.authorization = "Bearer dummy", .version = 1};
    return sd_event_new(&f->event);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(f->requests); i++)
        f->requests[i] = http_request_free(f->requests[i]);
    f->client = http_client_free(f->client);
    f->event = sd_event_unref(f->event);
    return 0;
}

/* ---- requests */

static void test_headers(void **state)
{
    char user[] = "jane", uid[] = "7", a[] = "system:nodes", b[] = "b";
    struct fixture *f = *state;
    struct exchange x = {0};

    f->config.impersonate_user = user;
    f->config.impersonate_uid = uid;
    f->config.impersonate_groups = (char *[]){a, b, NULL};
    connect_to(f, "http", f->plain.port);
    exchange(&x, f, "/echo?a=b%20c");
    assert_int_equal(x.outcome, HTTP_COMPLETE);
    assert_int_equal(x.response.status, 200);
    assert_string_equal(x.content_type, "application/json");
    assert_has(buf_text(&x.body), "GET /echo?a=b%20c HTTP/1.1\r\n");
    assert_has(buf_text(&x.body), "\r\nAuthorization: Bearer dummy\r\n");
    assert_has(buf_text(&x.body), "\r\nAccept: application/json\r\n");
    assert_has(buf_text(&x.body), "\r\nUser-Agent: secretfs/");
    assert_has(buf_text(&x.body), " (linux/");
    assert_has(buf_text(&x.body), "\r\nImpersonate-User: jane\r\n");
    assert_has(buf_text(&x.body), "\r\nImpersonate-Uid: 7\r\n");
    assert_has(buf_text(&x.body), "\r\nImpersonate-Group: system:nodes\r\n");
    assert_has(buf_text(&x.body), "\r\nImpersonate-Group: b\r\n");
    assert_has_not(buf_text(&x.body), "Expect");
    assert_has_not(buf_text(&x.body), "Accept-Encoding");
    finish(&x);
}

/* A body of @len bytes, the caller's. */
static char *make_body(size_t len)
{
    char *body = malloc(len + 1);

    assert_non_null(body);
    memset(body, 'b', len);
    body[len] = '\0';
    return body;
}

static void post_as(struct fixture *f, size_t len, bool is_patch)
{
    char *body = make_body(len), number[64];
    const struct http_call call = {.path = "/post",
                                   .body = body,
                                   .is_patch = is_patch,
                                   .total_limit = SPAN_SEC(30),
                                   .credentials = &f->snapshot};
    struct exchange x = {0};

    begin_call(&x, f, &call);
    memset(body, 'x', len); /* it was copied */
    free(body);
    run_until_done(&x);
    assert_int_equal(x.outcome, HTTP_COMPLETE);
    assert_int_equal(x.response.status, 201);
    assert_has(buf_text(&x.body),
               is_patch ? "PATCH /post HTTP/1.1\r\n" : "POST /post HTTP/1.1\r\n");
    /* HTTP/2 has these in lower case */
    assert_non_null(strcasestr(
        buf_text(&x.body), is_patch ? "\r\nContent-Type: application/strategic-merge-patch+json\r\n"
                                    : "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strcasestr(buf_text(&x.body), "\r\nAuthorization: Bearer dummy\r\n"));
    assert_null(strcasestr(buf_text(&x.body), "Expect"));
    snprintf(number, sizeof(number), "\r\n\r\nbody of %zu b", len);
    assert_has(buf_text(&x.body), number);
    finish(&x);
}

static void post(struct fixture *f, size_t len)
{
    post_as(f, len, false);
}

static const size_t body_lengths[] = {0, 1, 300, 70000, HTTP_BODY_MAX_BYTES};

static void test_post(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    for (size_t i = 0; i < ELEMENTS_OF(body_lengths); i++)
        post(f, body_lengths[i]);
}

static void test_post_http2(void **state)
{
    struct fixture *f = *state;

    connect_http2(f);
    for (size_t i = 0; i < ELEMENTS_OF(body_lengths); i++)
        post(f, body_lengths[i]);
    assert_string_equal(http_client_stats(f->client)->protocol, "HTTP/2");
}

static void test_patch(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    post_as(f, 300, true);
    post_as(f, 300, false);
}

static void test_post_too_long(void **state)
{
    struct fixture *f = *state;
    char *body = make_body(HTTP_BODY_MAX_BYTES + 1);
    const struct http_call call = {
        .path = "/post", .body = body, .total_limit = SPAN_SEC(30), .credentials = &f->snapshot};
    struct http_request *request;
    struct error e = ERROR_INIT;

    connect_to(f, "http", f->plain.port);
    assert_int_equal(http_client_send(f->client, &call, &exchange_handler, NULL, &request, &e),
                     -EFBIG);
    assert_has(e.text, "cannot send a request to");
    free(body);
}

static void test_server_with_path(void **state)
{
    char server[64];
    struct fixture *f = *state;
    struct exchange x = {0};
    struct error e;

    snprintf(server, sizeof(server), "http://127.0.0.1:%d/echo/k8s", f->plain.port);
    f->config.server = server;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), 0);
    exchange(&x, f, "/api/v1");
    assert_has(buf_text(&x.body), "GET /echo/k8s/api/v1 HTTP/1.1\r\n");
    finish(&x);
}

static void test_no_cookies(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0}, y = {0};

    connect_to(f, "http", f->plain.port);
    exchange(&x, f, "/cookie");
    exchange(&y, f, "/echo");
    assert_has_not(buf_text(&y.body), "Cookie");
    finish(&x);
    finish(&y);
}

static void test_bad_configurations(void **state)
{
    char ftp[] = "ftp://127.0.0.1", empty[] = "https://", words[] = "http://no url",
         two[] = "a\r\nb: c";
    char *const servers[] = {ftp, empty, words};
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < ELEMENTS_OF(servers); i++) {
        f->config.server = servers[i];
        assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), -EINVAL);
        assert_has(e.text, "write https://HOST:PORT in the test");
    }
    snprintf(f->server, sizeof(f->server), "http://127.0.0.1:1");
    f->config.server = f->server;
    f->config.impersonate_user = two;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), -EINVAL);
    assert_has(e.text, "line break");
}

/* ---- responses */

static void test_bodies(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0}, y = {0}, z = {0}, early = {0}, trailer = {0};

    connect_to(f, "http", f->plain.port);
    exchange(&x, f, "/bytes/0");
    assert_int_equal(x.body.len, 0);
    exchange(&y, f, "/bytes/1500000");
    assert_int_equal(y.body.len, 1500000);
    assert_int_equal(strspn(y.body.data, "x"), 1500000);
    exchange(&z, f, "/chunks");
    assert_string_equal(buf_text(&z.body), "abcde");
    exchange(&early, f, "/early");
    assert_int_equal(early.response.status, 200);
    assert_string_equal(buf_text(&early.body), "ok");
    exchange(&trailer, f, "/trailer");
    assert_string_equal(buf_text(&trailer.body), "ok");
    finish(&x);
    finish(&y);
    finish(&z);
    finish(&early);
    finish(&trailer);
}

static const struct {
    const char *path;
    int status;
    span_us least;
    span_us most;
} refusals[] = {
    {"/nowhere", 404, 0, 0},
    {"/away", 302, 0, 0}, /* not followed */
    {"/wait", 429, SPAN_SEC(7), SPAN_SEC(7)},
    {"/wait-long", 429, SPAN_SEC(300), SPAN_SEC(300)},
    {"/wait-never", 429, 0, 0},
    {"/wait-date", 503, SPAN_SEC(50), SPAN_SEC(60)},
};

static void test_refusals(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++) {
        struct exchange x = {0};

        /* a new client each time: one that has got a Retry-After delays all its requests */
        connect_to(f, "http", f->plain.port);
        exchange(&x, f, refusals[i].path);
        assert_int_equal(x.outcome, HTTP_COMPLETE);
        assert_int_equal(x.response.status, refusals[i].status);
        assert_between(x.response.retry_after, refusals[i].least, refusals[i].most);
        finish(&x);
        f->client = http_client_free(f->client);
    }
}

static void test_watch_arrives_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0};

    connect_to(f, "http", f->plain.port);
    begin(&x, f, "/watch");
    run_until_body(&x, "first");
    assert_false(x.is_done);
    assert_int_equal(http_client_stats(f->client)->connections, 1);
    finish(&x);
    assert_int_equal(http_client_stats(f->client)->connections, 0);
}

static void test_statistics(void **state)
{
    struct fixture *f = *state;
    struct exchange x[4] = {0};
    const struct http_stats *stats;

    connect_to(f, "http", f->plain.port);
    exchange(&x[0], f, "/echo");
    exchange(&x[1], f, "/wait-never"); /* so that no request is delayed */
    exchange(&x[2], f, "/echo");
    exchange(&x[3], f, "/reset");
    stats = http_client_stats(f->client);
    assert_string_equal(stats->protocol, "HTTP/1.1");
    assert_int_equal(stats->n_codes, 3);
    assert_int_equal(stats->codes[0].status, 200);
    assert_int_equal(stats->codes[0].n, 2);
    assert_int_equal(stats->codes[1].status, 429);
    assert_int_equal(stats->codes[1].n, 1);
    assert_int_equal(stats->codes[2].status, 0);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++)
        finish(&x[i]);
}

/* ---- failures */

static void test_refused_connection(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0};
    int port, fd = server_listen(&port);

    close(fd);
    connect_to(f, "http", port);
    exchange(&x, f, "/echo");
    assert_int_equal(x.outcome, HTTP_REFUSED);
    assert_has(x.error.text, "Connection refused");
    assert_has(x.error.text, "127.0.0.1");
    assert_has(x.error.text, "its address in the test");
    finish(&x);
}

static void test_unknown_host(void **state)
{
    char server[] = "https://api.invalid:6443";
    struct fixture *f = *state;
    struct exchange x = {0};
    struct error e;

    f->config.server = server;
    assert_int_equal(http_client_new(f->event, &f->config, &f->client, &e), 0);
    exchange(&x, f, "/echo");
    assert_int_equal(x.outcome, HTTP_FAILED);
    assert_has(x.error.text, "cannot find the address of https://api.invalid:6443");
    finish(&x);
}

/* The proxy refuses a tunnel; then it does not run. */
static void test_proxy(void **state)
{
    char proxy[64];
    struct fixture *f = *state;
    struct exchange refused = {0}, away = {0};
    int port, fd = server_listen(&port);

    close(fd);
    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", f->plain.port);
    unsetenv("no_proxy");
    f->config.proxy_url = proxy;
    connect_to(f, "https", f->tls.port);
    exchange(&refused, f, "/echo");
    assert_int_equal(refused.outcome, HTTP_FAILED);
    assert_int_equal(refused.response.status, 0);
    assert_has(refused.error.text, "response 403");
    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", port);
    exchange(&away, f, "/echo");
    assert_has(away.error.text, "through its proxy");
    finish(&refused);
    finish(&away);
    setenv("no_proxy", "*", 1);
}

static void test_broken_connections(void **state)
{
    struct fixture *f = *state;
    struct exchange cut = {0}, reset = {0};

    connect_to(f, "http", f->plain.port);
    exchange(&cut, f, "/cut");
    assert_int_equal(cut.outcome, HTTP_FAILED);
    assert_string_equal(buf_text(&cut.body), "part");
    assert_has(cut.error.text, "broke");
    exchange(&reset, f, "/reset");
    assert_int_equal(reset.outcome, HTTP_FAILED);
    assert_int_equal(reset.response.status, 0);
    finish(&cut);
    finish(&reset);
}

/* A watch whose first piece has come before the limit. */
static void exchange_cut_watch(struct exchange *x, struct fixture *f)
{
    for (span_us limit = SPAN_MS(50);; limit *= 2) {
        *x = (struct exchange){0};
        begin_limited(x, f, "/watch", limit);
        run_until_done(x);
        if (x->body.len > 0)
            return;
        finish(x); /* the machine is busy */
    }
}

static void test_total_limit(void **state)
{
    struct fixture *f = *state;
    struct exchange silent = {0}, watch;

    connect_to(f, "http", f->plain.port);
    begin_limited(&silent, f, "/silent", SPAN_MS(50));
    run_until_done(&silent);
    exchange_cut_watch(&watch, f);
    assert_int_equal(silent.outcome, HTTP_TIMED_OUT);
    assert_has(silent.error.text, "did not answer in time");
    assert_int_equal(watch.outcome, HTTP_TIMED_OUT);
    assert_string_equal(buf_text(&watch.body), "first");
    finish(&silent);
    finish(&watch);
}

static void test_untrusted(void **state)
{
    struct made_pair other = pair_make(3600);
    struct fixture *f = *state;
    struct exchange system = {0}, wrong = {0}, damaged = {0};

    connect_to(f, "https", f->tls.port);
    exchange(&system, f, "/echo");
    assert_int_equal(system.outcome, HTTP_FAILED);
    assert_has(system.error.text, "is not trusted");
    assert_has(system.error.text, "check certificate-authority in the test");
    f->snapshot.ca_pem = other.cert_pem;
    exchange(&wrong, f, "/echo");
    assert_has(wrong.error.text, "check certificate-authority in the test");
    f->snapshot.ca_pem = "dummy";
    exchange(&damaged, f, "/echo");
    assert_has(damaged.error.text, "certificate-authority");
    finish(&system);
    finish(&wrong);
    finish(&damaged);
    pair_unmake(&other);
}

static void test_wrong_name(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0};

    f->snapshot.ca_pem = f->pair.cert_pem;
    connect_to(f, "https", f->tls.port);
    exchange(&x, f, "/echo");
    assert_has(x.error.text, "is not trusted");
    assert_has(x.error.text, "set tls-server-name");
    finish(&x);
}

/* TLS verifies tls-server-name, and Host has the server's address. */
static void test_tls_server_name(void **state)
{
    char host[64];
    struct fixture *f = *state;
    struct exchange x = {0};

    trust_dummy(f);
    connect_to(f, "https", f->tls.port);
    exchange(&x, f, "/echo");
    assert_string_equal(x.error.text, "");
    snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%d\r\n", f->tls.port);
    assert_has(buf_text(&x.body), host);
    finish(&x);
}

static void test_insecure(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0};

    f->config.insecure_skip_tls_verify = true;
    connect_to(f, "https", f->tls.port);
    exchange(&x, f, "/echo");
    assert_int_equal(x.outcome, HTTP_COMPLETE);
    finish(&x);
}

static void test_damaged_client_certificate(void **state)
{
    struct made_pair other = pair_make(3600);
    struct fixture *f = *state;
    struct exchange x = {0};

    trust_dummy(f);
    f->snapshot.client_cert_pem = f->pair.cert_pem;
    f->snapshot.client_key_pem = other.key_pem;
    connect_to(f, "https", f->tls.port);
    exchange(&x, f, "/echo");
    assert_int_equal(x.outcome, HTTP_FAILED);
    assert_has(x.error.text, "client certificate");
    finish(&x);
    pair_unmake(&other);
}

/* New credentials make a new connection, so that the server sees the new certificate. */
static void test_new_client_certificate(void **state)
{
    struct made_pair first = pair_make(3600), second = pair_make(3600);
    struct fixture *f = *state;
    struct exchange x[3] = {0};

    trust_dummy(f);
    connect_to(f, "https", f->tls.port);
    f->snapshot.client_cert_pem = first.cert_pem;
    f->snapshot.client_key_pem = first.key_pem;
    exchange(&x[0], f, "/echo");
    exchange(&x[1], f, "/echo");
    assert_int_equal(http_client_stats(f->client)->connections, 1);
    f->snapshot.client_cert_pem = second.cert_pem;
    f->snapshot.client_key_pem = second.key_pem;
    exchange(&x[2], f, "/echo");
    assert_int_equal(http_client_stats(f->client)->connections, 2);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++) {
        assert_int_equal(x[i].outcome, HTTP_COMPLETE);
        finish(&x[i]);
    }
    pair_unmake(&first);
    pair_unmake(&second);
}

static void test_sockets_are_not_inherited(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0};
    bool was_open[64];

    for (int fd = 3; fd < 64; fd++)
        was_open[fd] = fcntl(fd, F_GETFD) >= 0;
    connect_to(f, "http", f->plain.port);
    begin(&x, f, "/watch");
    run_until_body(&x, "first");
    for (int fd = 3; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (!was_open[fd] && flags >= 0)
            assert_true((flags & FD_CLOEXEC) != 0);
    }
    finish(&x);
}

/* ---- starting and freeing from within callbacks */

static void free_self(struct exchange *x)
{
    free_request(x);
    x->then = NULL;
}

static void free_other(struct exchange *x)
{
    free_request(x->other);
}

static void start_other(struct exchange *x)
{
    if (x->other->request == NULL)
        begin(x->other, x->f, "/echo");
}

static const enum moment moments[] = {THEN_AT_RESPONSE, THEN_AT_BODY, THEN_AT_END};

static void test_free_self_in_callbacks(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    for (size_t i = 0; i < ELEMENTS_OF(moments); i++) {
        struct exchange x = {.then = free_self, .when = moments[i]}, after = {0};

        begin(&x, f, "/bytes/200000");
        while (x.then != NULL)
            assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
        exchange(&after, f, "/echo");
        assert_int_equal(x.is_done, moments[i] == THEN_AT_END);
        finish(&x);
        finish(&after);
    }
}

static void test_free_other_in_callbacks(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    for (size_t i = 0; i < ELEMENTS_OF(moments); i++) {
        struct exchange y = {0};
        struct exchange x = {.then = free_other, .when = moments[i], .other = &y};

        begin(&y, f, "/watch");
        exchange(&x, f, "/bytes/10");
        assert_false(y.is_done);
        assert_null(y.request);
        finish(&x);
        finish(&y);
    }
}

static void test_start_in_callbacks(void **state)
{
    struct fixture *f = *state;

    connect_to(f, "http", f->plain.port);
    for (size_t i = 0; i < ELEMENTS_OF(moments); i++) {
        struct exchange y = {0};
        struct exchange x = {.then = start_other, .when = moments[i], .other = &y};

        exchange(&x, f, "/bytes/10");
        run_until_done(&y);
        assert_int_equal(y.response.status, 200);
        finish(&x);
        finish(&y);
    }
}

static void test_free_before_it_began(void **state)
{
    struct fixture *f = *state;
    struct exchange x = {0}, y = {0};

    connect_to(f, "http", f->plain.port);
    begin(&x, f, "/echo");
    finish(&x);
    exchange(&y, f, "/echo");
    assert_false(x.is_done);
    finish(&y);
}

/* ---- HTTP/2 */

static void test_http2(void **state)
{
    char host[64];
    struct fixture *f = *state;
    struct exchange x = {0}, y = {0};

    connect_http2(f);
    exchange(&x, f, "/echo");
    assert_int_equal(x.outcome, HTTP_COMPLETE);
    assert_string_equal(http_client_stats(f->client)->protocol, "HTTP/2");
    snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%d\r\n", f->proxy.port);
    assert_has(buf_text(&x.body), host);
    exchange(&y, f, "/bytes/1500000");
    assert_int_equal(y.body.len, 1500000);
    assert_int_equal(strspn(y.body.data, "x"), 1500000);
    finish(&x);
    finish(&y);
}

/* Many responses of all sizes on one connection: no byte may stay in libcurl's buffers. */
static void test_http2_sharing(void **state)
{
    struct fixture *f = *state;
    struct exchange x[40] = {0};

    connect_http2(f);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++) {
        char path[64];

        snprintf(path, sizeof(path), "/bytes/%zu", i * i * i * 10);
        begin(&x[i], f, path);
    }
    for (size_t i = 0; i < ELEMENTS_OF(x); i++) {
        run_until_done(&x[i]);
        assert_int_equal(x[i].outcome, HTTP_COMPLETE);
        assert_int_equal(x[i].body.len, i * i * i * 10);
        assert_int_equal(strspn(buf_text(&x[i].body), "x"), x[i].body.len);
    }
    assert_int_equal(http_client_stats(f->client)->connections, 1);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++)
        finish(&x[i]);
}

/* A hundred watches on a connection, and one more connection for all of the rest. */
static void test_http2_many_watches(void **state)
{
    static struct exchange x[250];
    struct fixture *f = *state;

    connect_http2(f);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++) {
        x[i] = (struct exchange){0};
        begin(&x[i], f, "/watch");
    }
    for (size_t i = 0; i < ELEMENTS_OF(x); i++)
        run_until_body(&x[i], "first");
    assert_int_equal(http_client_stats(f->client)->connections, 3);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++)
        finish(&x[i]);
    assert_int_equal(http_client_stats(f->client)->connections, 0);
}

/* The request that opens a connection for the others may go before it has. */
static void test_http2_connection_opener_is_freed(void **state)
{
    static struct exchange x[102];
    struct fixture *f = *state;
    struct exchange last = {0};

    connect_http2(f);
    for (size_t i = 0; i < ELEMENTS_OF(x); i++) {
        x[i] = (struct exchange){0};
        begin(&x[i], f, "/watch");
    }
    for (size_t i = 0; i < 100; i++)
        run_until_body(&x[i], "first");
    begin(&last, f, "/echo");
    finish(&x[100]);
    finish(&x[101]);
    run_until_done(&last);
    assert_int_equal(last.outcome, HTTP_COMPLETE);
    for (size_t i = 0; i < 100; i++)
        finish(&x[i]);
    finish(&last);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_headers),
        TEST(test_post),
        TEST(test_post_http2),
        TEST(test_patch),
        TEST(test_post_too_long),
        TEST(test_server_with_path),
        TEST(test_no_cookies),
        TEST(test_bad_configurations),
        TEST(test_bodies),
        TEST(test_refusals),
        TEST(test_watch_arrives_in_pieces),
        TEST(test_statistics),
        TEST(test_refused_connection),
        TEST(test_unknown_host),
        TEST(test_proxy),
        TEST(test_broken_connections),
        TEST(test_total_limit),
        TEST(test_untrusted),
        TEST(test_wrong_name),
        TEST(test_tls_server_name),
        TEST(test_insecure),
        TEST(test_damaged_client_certificate),
        TEST(test_new_client_certificate),
        TEST(test_sockets_are_not_inherited),
        TEST(test_free_self_in_callbacks),
        TEST(test_free_other_in_callbacks),
        TEST(test_start_in_callbacks),
        TEST(test_free_before_it_began),
        TEST(test_http2),
        TEST(test_http2_sharing),
        TEST(test_http2_many_watches),
        TEST(test_http2_connection_opener_is_freed),
    };

    alarm(120); /* a test that waits in vain */
    /* the tests' servers are not behind the proxy of the machine */
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
