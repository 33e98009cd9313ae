/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pod_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

/*
 * A watch in a world where nothing happens by itself. The chance is always 0, so waits are at their
 * shortest and watches ask for 300 s.
 */
struct world {
    struct pods pods;
    struct pod_watch *watch;
    mono_us now;
    mono_us timer_at; /* SPAN_FOREVER: off */
    char path[512];   /* of the request under way; "" if there is none */
    span_us total_limit;
    uint32_t random;
    int request_result;
    unsigned n_requests;
    unsigned n_rejected;
    unsigned n_pods; /* that it told of */
    unsigned n_health;
    enum pod_watch_health health;
    struct error problem;
};

/* ---- the world */

static int world_request(void *userdata, const char *path, span_us total_limit, struct error *e)
{
    struct world *w = userdata;

    assert_string_equal(w->path, "");
    if (w->request_result < 0)
        return error_set(e, w->request_result, "no request today");
    snprintf(w->path, sizeof(w->path), "%s", path);
    w->total_limit = total_limit;
    w->n_requests++;
    return 0;
}

static void world_cancel(void *userdata)
{
    struct world *w = userdata;

    w->path[0] = '\0';
}

static void world_reject(void *userdata)
{
    struct world *w = userdata;

    w->n_rejected++;
}

static void world_set_timer(void *userdata, span_us delay)
{
    struct world *w = userdata;

    w->timer_at = delay == SPAN_FOREVER ? SPAN_FOREVER : w->now + delay;
}

static mono_us world_now(void *userdata)
{
    const struct world *w = userdata;

    return w->now;
}

static uint32_t world_random(void *userdata)
{
    const struct world *w = userdata;

    return w->random;
}

static void world_on_pod(void *userdata, const struct pod *pod)
{
    struct world *w = userdata;

    assert_non_null(pod);
    w->n_pods++;
}

static void world_on_health(void *userdata, enum pod_watch_health health, const struct error *e)
{
    struct world *w = userdata;

    w->n_health++;
    w->health = health;
    w->problem = *e;
    assert_int_equal(e->text[0] == '\0', health == POD_WATCH_LIVE);
}

static const struct pod_watch_io world_io = {
    .request = world_request,
    .cancel = world_cancel,
    .reject_credentials = world_reject,
    .set_timer = world_set_timer,
    .now = world_now,
    .random = world_random,
    .on_pod = world_on_pod,
    .on_health = world_on_health,
};

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const struct pod_watch_options options = {
        .driver_name = "csi.secretfs.io", .node_name = "node-0", .pods = NULL};
    struct pod_watch_options own = options;

    assert_non_null(w);
    w->now = SPAN_SEC(1000);
    w->timer_at = SPAN_FOREVER;
    pods_init(&w->pods);
    own.pods = &w->pods;
    assert_int_equal(pod_watch_new(&own, &world_io, w, &w->watch), 0);
    assert_string_equal(pod_watch_state_name(w->watch), "new");
    assert_int_equal(pod_watch_health(w->watch), POD_WATCH_STARTING);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    assert_null(pod_watch_free(w->watch));
    assert_string_equal(w->path, "");
    assert_int_equal(w->timer_at, SPAN_FOREVER);
    pods_deinit(&w->pods);
    free(w);
    return 0;
}

/* ---- what the API server does */

static void pass(struct world *w, span_us span)
{
    w->now += span;
    assert_true(w->timer_at > w->now);
}

/* The timer is armed for @delay from now, which is over then. */
static void expect_timer(struct world *w, span_us delay)
{
    assert_int_equal(w->timer_at, w->now + delay);
    w->now = w->timer_at;
    w->timer_at = SPAN_FOREVER;
    pod_watch_on_timer(w->watch);
}

static void respond(struct world *w, int status, span_us retry_after)
{
    struct http_response response = {.status = status, .retry_after = retry_after};

    assert_string_not_equal(w->path, "");
    pod_watch_on_response(w->watch, &response);
}

static void send(struct world *w, const char *text)
{
    assert_string_not_equal(w->path, "");
    pod_watch_on_body(w->watch, text, strlen(text));
}

static void end(struct world *w, enum http_outcome outcome)
{
    struct error e = {.text = "the wire was cut"};

    assert_string_not_equal(w->path, "");
    w->path[0] = '\0';
    pod_watch_on_done(w->watch, outcome, outcome == HTTP_COMPLETE ? NULL : &e);
}

static void answer(struct world *w, int status, const char *text)
{
    respond(w, status, 0);
    send(w, text);
    end(w, HTTP_COMPLETE);
}

#define POD_OF(name, uid, version, volumes)                                                        \
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"namespace\":\"prod\",\"name\":"       \
    "\"" name "\",\"uid\":\"" uid "\",\"resourceVersion\":\"" version                              \
    "\"},\"spec\":{\"volumes\":[" volumes "]}}"
#define OURS                 "{\"name\":\"a\",\"csi\":{\"driver\":\"csi.secretfs.io\"}}"
#define POD(number, version) POD_OF("web-" number, "u" number, version, OURS)
#define EVENT(type, object)  "{\"type\":\"" type "\",\"object\":" object "}\n"
#define BOOKMARK(version)                                                                          \
    EVENT("BOOKMARK", "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{"                     \
                      "\"resourceVersion\":\"" version "\",\"creationTimestamp\":null}}")
#define STATUS(code, message)                                                                      \
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","           \
    "\"message\":\"" message "\",\"code\":" code "}"

/* ---- what is expected */

/* @cursor: NULL for a watch that begins a round */
static void expect_watch(struct world *w, const char *cursor)
{
    char path[512];

    snprintf(path, sizeof(path),
             "/api/v1/pods?fieldSelector=spec.nodeName%%3Dnode-0&watch=true"
             "&allowWatchBookmarks=true&timeoutSeconds=300%s%s",
             cursor != NULL ? "&resourceVersion=" : "", cursor != NULL ? cursor : "");
    assert_string_equal(w->path, path);
    assert_int_equal(w->total_limit, SPAN_SEC(330));
    assert_string_equal(pod_watch_state_name(w->watch), "opening");
    assert_int_equal(w->timer_at, SPAN_FOREVER);
}

/* It failed for a reason with these words, and begins again after the back-off's first wait. */
static void expect_failure(struct world *w, const char *words, const char *cursor)
{
    assert_string_equal(w->path, "");
    assert_int_equal(w->health, POD_WATCH_FAILING);
    if (strstr(w->problem.text, words) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", w->problem.text, words);
    expect_timer(w, SPAN_MS(800));
    expect_watch(w, cursor);
}

static void expect_pods(const struct world *w, const char *uids)
{
    const struct pod *pod;
    char text[256] = "";

    list_for_each (pod, &w->pods.list, link)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", pod->uid);
    assert_string_equal(text, uids);
}

/* A watch that knows u1 and u2, and has the cursor 20. */
static void begin_watching(struct world *w)
{
    pod_watch_start(w->watch);
    expect_watch(w, NULL);
    respond(w, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
    send(w, EVENT("ADDED", POD("1", "15")) EVENT("ADDED", POD("2", "5")) BOOKMARK("20"));
    expect_pods(w, "u1 u2 ");
    assert_int_equal(w->timer_at, SPAN_FOREVER);
    pass(w, SPAN_SEC(2));
}

/* ---- the happy path */

static void test_begins_without_a_version(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    assert_int_equal(w->n_pods, 2);
    send(w, EVENT("ADDED", POD("3", "21")) EVENT("MODIFIED", POD("2", "22")));
    expect_pods(w, "u1 u3 u2 ");
    send(w, EVENT("DELETED", POD("1", "23")));
    expect_pods(w, "u3 u2 ");
    assert_int_equal(w->n_pods, 4);
    end(w, HTTP_COMPLETE);
    expect_watch(w, "23");
    respond(w, 200, 0);
    send(w, EVENT("DELETED", POD("2", "24")));
    expect_pods(w, "u3 ");
    assert_int_equal(w->n_health, 1);
}

static void test_how_long_a_watch_lives(void **state)
{
    struct world *w = *state;

    w->random = UINT32_MAX;
    pod_watch_start(w->watch);
    assert_non_null(strstr(w->path, "&timeoutSeconds=600"));
    assert_int_equal(w->total_limit, SPAN_SEC(630));
    pod_watch_on_sent(w->watch);
    respond(w, 200, 0);
    assert_int_equal(w->timer_at, SPAN_FOREVER);
}

static void test_pods_without_our_volumes(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send(w, EVENT("ADDED", POD_OF("web-9", "u9", "21", "")));
    expect_pods(w, "u1 u2 ");
    /* volumes never change; should they do so nevertheless, it is no longer one of ours */
    send(w, EVENT("MODIFIED", POD_OF("web-1", "u1", "22", "")));
    expect_pods(w, "u2 ");
}

static void test_pieces(void **state)
{
    static const char text[] = EVENT("ADDED", POD("3", "21")) EVENT("DELETED", POD("2", "22"));
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        pod_watch_on_body(w->watch, text + i, 1);
    expect_pods(w, "u1 u3 ");
}

/* ---- rounds */

/* The first events' versions are in no order: none is a place to go on from. */
static void test_no_cursor_before_a_bookmark(void **state)
{
    struct world *w = *state;

    pod_watch_start(w->watch);
    respond(w, 200, 0);
    send(w, EVENT("ADDED", POD("1", "15")));
    pass(w, SPAN_SEC(2));
    end(w, HTTP_FAILED);
    expect_timer(w, 0);
    expect_watch(w, NULL);
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

static void test_what_does_not_come_again_is_gone(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send(w, EVENT("ERROR", STATUS("410", "too old resource version")));
    expect_failure(w, "410: too old", NULL);
    expect_pods(w, "u1 u2 ");
    respond(w, 200, 0);
    send(w, EVENT("ADDED", POD("2", "5")) EVENT("ADDED", POD("3", "25")));
    expect_pods(w, "u1 u2 u3 ");
    send(w, BOOKMARK("30"));
    expect_pods(w, "u2 u3 ");
}

/* A server that sends no bookmarks. */
static void test_round_ends_with_the_watch(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send(w, EVENT("ERROR", STATUS("500", "oops")));
    expect_failure(w, "500", NULL);
    respond(w, 200, 0);
    send(w, EVENT("ADDED", POD("2", "5")));
    pass(w, SPAN_SEC(300));
    end(w, HTTP_COMPLETE);
    expect_pods(w, "u2 ");
    expect_watch(w, NULL);
}

/* ---- events that cannot be used */

static void expect_left_out(struct world *w, const char *text)
{
    begin_watching(w);
    send(w, text);
    send(w, EVENT("ADDED", POD("3", "40")));
    expect_pods(w, "u1 u2 u3 ");
    assert_int_equal(w->n_health, 1);
    end(w, HTTP_COMPLETE);
    expect_watch(w, NULL);
}

static void test_event_that_is_no_json(void **state)
{
    expect_left_out(*state, "{\"type\":}\n");
}

static void test_event_without_object(void **state)
{
    expect_left_out(*state, "{\"type\":\"ADDED\"}\n{\"object\":{}}\n{}\n");
}

static void test_event_that_is_no_pod(void **state)
{
    expect_left_out(*state, EVENT("ADDED", "{\"kind\":\"Secret\",\"metadata\":{\"uid\":\"x\"}}"));
}

static void test_event_of_an_unknown_type(void **state)
{
    expect_left_out(*state, EVENT("MOVED", POD("1", "21")));
}

static void test_pod_with_a_nul(void **state)
{
    expect_left_out(*state,
                    EVENT("ADDED", "{\"metadata\":{\"namespace\":\"a\",\"name\":\"b\\u0000\","
                                   "\"uid\":\"u\"}}"));
}

static void test_event_that_is_too_long(void **state)
{
    struct world *w = *state;
    char piece[8192];

    begin_watching(w);
    send(w, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"annotations\":{\"a\":\"");
    memset(piece, 'x', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    for (size_t len = 0; len < 3 * (size_t)POD_JSON_MAX_BYTES; len += sizeof(piece) - 1)
        send(w, piece);
    send(w, "\"}}}}\n" EVENT("ADDED", POD("3", "40")));
    expect_pods(w, "u1 u2 u3 ");
    end(w, HTTP_COMPLETE);
    expect_watch(w, NULL);
}

static void test_what_is_no_stream_of_objects(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send(w, "<html>");
    expect_failure(w, "cannot be read", NULL);
}

/* ---- ends */

static void test_broken_watch_goes_on(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->random = 1u << 31;
    end(w, HTTP_FAILED);
    w->random = 0;
    expect_timer(w, SPAN_MS(500));
    expect_watch(w, "20");
    assert_int_equal(w->n_health, 1);
}

static void test_short_watches(void **state)
{
    struct world *w = *state;

    pod_watch_start(w->watch);
    respond(w, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
    end(w, HTTP_COMPLETE);
    expect_failure(w, "as soon as it began", NULL);
    respond(w, 200, 0);
    assert_int_equal(w->health, POD_WATCH_FAILING); /* it has proved nothing */
    expect_timer(w, SPAN_SEC(1));
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

/* The pods of a new round do not show that the next one would come further. */
static void test_short_watches_with_events(void **state)
{
    struct world *w = *state;

    pod_watch_start(w->watch);
    respond(w, 200, 0);
    send(w, EVENT("ADDED", POD("1", "15")));
    end(w, HTTP_FAILED);
    expect_failure(w, "as soon as it began", NULL);
    respond(w, 200, 0);
    send(w, EVENT("ADDED", POD("1", "15")));
    end(w, HTTP_COMPLETE);
    assert_int_equal(w->timer_at, w->now + SPAN_MS(1600));
}

static void test_data_that_went_back(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send(w, BOOKMARK("19"));
    expect_failure(w, "went back from version 20 to 19", NULL);
}

static void test_server_does_not_answer(void **state)
{
    struct world *w = *state;

    pod_watch_start(w->watch);
    pod_watch_on_sent(w->watch);
    expect_timer(w, SPAN_SEC(30));
    expect_failure(w, "did not answer", NULL);
}

static void test_server_is_away(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(w, HTTP_COMPLETE);
    expect_watch(w, "20");
    end(w, HTTP_REFUSED);
    expect_failure(w, "the wire was cut", NULL);
    expect_pods(w, "u1 u2 ");
    end(w, HTTP_FAILED);
    assert_int_equal(w->timer_at, w->now + SPAN_MS(1600));
}

static void test_no_request(void **state)
{
    struct world *w = *state;

    w->request_result = -EAGAIN;
    pod_watch_start(w->watch);
    w->request_result = 0;
    expect_failure(w, "no request today", NULL);
}

/* ---- refusals */

static void test_credentials_are_refused(void **state)
{
    struct world *w = *state;

    pod_watch_start(w->watch);
    answer(w, 401, STATUS("401", "Unauthorized"));
    assert_int_equal(w->health, POD_WATCH_REFUSED);
    assert_int_equal(w->n_rejected, 1);
    expect_timer(w, SPAN_MS(800));
    expect_watch(w, NULL);
    respond(w, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

/* At first it may come soon; later it is the administrator's will. */
static void test_forbidden(void **state)
{
    static const span_us waits[] = {SPAN_MS(800),   SPAN_MS(1600), SPAN_MS(3200), SPAN_MS(6400),
                                    SPAN_MS(12800), SPAN_SEC(300), SPAN_SEC(300)};
    struct world *w = *state;

    pod_watch_start(w->watch);
    for (size_t i = 0; i < ELEMENTS_OF(waits); i++) {
        answer(w, 403, STATUS("403", "pods is forbidden"));
        assert_int_equal(w->health, POD_WATCH_REFUSED);
        assert_non_null(strstr(w->problem.text, "pods is forbidden: allow this identity to get, "
                                                "list and watch pods"));
        expect_timer(w, waits[i]);
        expect_watch(w, NULL);
    }
    respond(w, 200, 0);
    pass(w, SPAN_SEC(200));
    end(w, HTTP_COMPLETE);
    answer(w, 403, "no JSON");
    expect_timer(w, SPAN_MS(800));
}

static void test_old_version_is_refused(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(w, HTTP_COMPLETE);
    expect_watch(w, "20");
    answer(w, 410, STATUS("410", "too old"));
    expect_failure(w, "410 (Gone)", NULL);
}

static void test_put_off(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(w, HTTP_COMPLETE);
    respond(w, 429, SPAN_SEC(7));
    end(w, HTTP_COMPLETE);
    expect_timer(w, SPAN_SEC(7));
    expect_watch(w, "20");
}

static void test_long_refusal(void **state)
{
    struct world *w = *state;
    char piece[65536];

    memset(piece, 'x', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    pod_watch_start(w->watch);
    respond(w, 503, 0);
    send(w, piece);
    send(w, piece);
    end(w, HTTP_COMPLETE);
    expect_failure(w, "503 (Service Unavailable)", NULL);
}

/* ---- memory */

static int attempt(void *userdata)
{
    struct world *w = userdata;
    struct pod_watch_options options = {
        .driver_name = "csi.secretfs.io", .node_name = "node-0", .pods = &w->pods};
    struct pod_watch *own = w->watch;
    int r = pod_watch_new(&options, &world_io, w, &w->watch);

    if (r == 0) {
        pod_watch_start(w->watch);
        /* whatever fails on the way, nothing is left of it */
        if (w->path[0] != '\0')
            respond(w, 200, 0);
        if (w->path[0] != '\0')
            send(w, EVENT("ADDED", POD("1", "15")) BOOKMARK("20"));
        w->watch = pod_watch_free(w->watch);
        pods_remove(&w->pods, "u1");
    }
    w->watch = own;
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(attempt, *state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_begins_without_a_version),
        TEST(test_how_long_a_watch_lives),
        TEST(test_pods_without_our_volumes),
        TEST(test_pieces),
        TEST(test_no_cursor_before_a_bookmark),
        TEST(test_what_does_not_come_again_is_gone),
        TEST(test_round_ends_with_the_watch),
        TEST(test_event_that_is_no_json),
        TEST(test_event_without_object),
        TEST(test_event_that_is_no_pod),
        TEST(test_event_of_an_unknown_type),
        TEST(test_pod_with_a_nul),
        TEST(test_event_that_is_too_long),
        TEST(test_what_is_no_stream_of_objects),
        TEST(test_broken_watch_goes_on),
        TEST(test_short_watches),
        TEST(test_short_watches_with_events),
        TEST(test_data_that_went_back),
        TEST(test_server_does_not_answer),
        TEST(test_server_is_away),
        TEST(test_no_request),
        TEST(test_credentials_are_refused),
        TEST(test_forbidden),
        TEST(test_old_version_is_refused),
        TEST(test_put_off),
        TEST(test_long_refusal),
        TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
