/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pod_watch.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/fetcher/api/scripted_watch.h"

struct world {
    struct script script; /* first: the watch has one userdata */
    struct pods pods;
    struct pod_watch *watch;
    unsigned n_pods; /* that it reported */
    unsigned n_health;
    enum pod_watch_health health;
    struct error problem;
};

/* ---- the watch's surroundings */

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
    .watch = SCRIPT_IO,
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
    script_init(&w->script);
    pods_init(&w->pods);
    own.pods = &w->pods;
    assert_int_equal(pod_watch_new(&own, &world_io, w, &w->watch), 0);
    w->script.watch = pod_watch_watch(w->watch);
    expect_state(&w->script, "new");
    assert_int_equal(pod_watch_health(w->watch), POD_WATCH_STARTING);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    assert_null(pod_watch_free(w->watch));
    script_expect_freed(&w->script);
    pods_deinit(&w->pods);
    free(w);
    return 0;
}

/* ---- what the API server sends */

#define POD_OF(name, uid, version, volumes)                                                        \
    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"namespace\":\"prod\",\"name\":"       \
    "\"" name "\",\"uid\":\"" uid "\",\"resourceVersion\":\"" version                              \
    "\"},\"spec\":{\"volumes\":[" volumes "]}}"
#define OURS                 "{\"name\":\"a\",\"csi\":{\"driver\":\"csi.secretfs.io\"}}"
#define POD(number, version) POD_OF("web-" number, "u" number, version, OURS)
#define BOOKMARK(version)    BOOKMARK_OF("Pod", version)

/* ---- expectations */

/* @cursor: NULL for a watch that begins a round */
static void expect_watch(struct world *w, const char *cursor)
{
    char path[512];

    snprintf(path, sizeof(path),
             "/api/v1/pods?fieldSelector=spec.nodeName%%3Dnode-0&watch=true"
             "&allowWatchBookmarks=true&timeoutSeconds=300%s%s",
             cursor != NULL ? "&resourceVersion=" : "", cursor != NULL ? cursor : "");
    assert_string_equal(w->script.path, path);
    assert_int_equal(w->script.total_limit, SPAN_SEC(330));
    expect_state(&w->script, "opening");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

/* Its cursor expired, which is no failure. */
static void expect_expired(struct world *w)
{
    assert_string_equal(w->script.path, "");
    assert_int_equal(w->n_health, 1);
    assert_int_equal(w->health, POD_WATCH_LIVE);
    expect_timer(&w->script, SPAN_MS(800));
    expect_watch(w, NULL);
}

/* It failed with an error that has @words, and is retried after the back-off's first wait. */
static void expect_failure(struct world *w, const char *words, const char *cursor)
{
    assert_string_equal(w->script.path, "");
    assert_int_equal(w->health, POD_WATCH_FAILING);
    if (strstr(w->problem.text, words) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", w->problem.text, words);
    expect_timer(&w->script, SPAN_MS(800));
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
    watch_start(w->script.watch);
    expect_watch(w, NULL);
    respond(&w->script, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
    send_body(&w->script,
              EVENT("ADDED", POD("1", "15")) EVENT("ADDED", POD("2", "5")) BOOKMARK("20"));
    expect_pods(w, "u1 u2 ");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
    pass(&w->script, SPAN_SEC(2));
}

/* ---- the happy path */

static void test_begins_without_a_version(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    assert_int_equal(w->n_pods, 2);
    send_body(&w->script, EVENT("ADDED", POD("3", "21")) EVENT("MODIFIED", POD("2", "22")));
    expect_pods(w, "u1 u3 u2 ");
    send_body(&w->script, EVENT("DELETED", POD("1", "23")));
    expect_pods(w, "u3 u2 ");
    assert_int_equal(w->n_pods, 4);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "23");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("DELETED", POD("2", "24")));
    expect_pods(w, "u3 ");
    assert_int_equal(w->n_health, 1);
}

static void test_how_long_a_watch_lives(void **state)
{
    struct world *w = *state;

    w->script.random = UINT32_MAX;
    watch_start(w->script.watch);
    assert_non_null(strstr(w->script.path, "&timeoutSeconds=600"));
    assert_int_equal(w->script.total_limit, SPAN_SEC(630));
    watch_on_sent(w->script.watch);
    respond(&w->script, 200, 0);
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

static void test_pods_without_our_volumes(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("ADDED", POD_OF("web-9", "u9", "21", "")));
    expect_pods(w, "u1 u2 ");
    /* volumes of a pod never change; if they do, the pod is dropped */
    send_body(&w->script, EVENT("MODIFIED", POD_OF("web-1", "u1", "22", "")));
    expect_pods(w, "u2 ");
}

static void test_pieces(void **state)
{
    static const char text[] = EVENT("ADDED", POD("3", "21")) EVENT("DELETED", POD("2", "22"));
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        watch_on_body(w->script.watch, text + i, 1);
    expect_pods(w, "u1 u3 ");
}

/* ---- rounds */

/* The first events' versions are in no order: none is a place to go on from. */
static void test_no_cursor_before_a_bookmark(void **state)
{
    struct world *w = *state;

    watch_start(w->script.watch);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("1", "15")));
    pass(&w->script, SPAN_SEC(2));
    end(&w->script, HTTP_FAILED);
    expect_timer(&w->script, 0);
    expect_watch(w, NULL);
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

static void test_what_does_not_come_again_is_gone(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("ERROR", STATUS("410", "too old resource version")));
    expect_expired(w);
    expect_pods(w, "u1 u2 ");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("2", "5")) EVENT("ADDED", POD("3", "25")));
    expect_pods(w, "u1 u2 u3 ");
    send_body(&w->script, BOOKMARK("30"));
    expect_pods(w, "u2 u3 ");
}

/* A server that sends no bookmarks. */
static void test_round_ends_with_the_watch(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("ERROR", STATUS("500", "oops")));
    expect_failure(w, "500", NULL);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("2", "5")));
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_pods(w, "u2 ");
    expect_watch(w, NULL);
}

/* ---- events that cannot be used */

static void expect_left_out(struct world *w, const char *text)
{
    begin_watching(w);
    send_body(&w->script, text);
    send_body(&w->script, EVENT("ADDED", POD("3", "40")));
    expect_pods(w, "u1 u2 u3 ");
    assert_int_equal(w->n_health, 1);
    end(&w->script, HTTP_COMPLETE);
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
    send_body(&w->script,
              "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"annotations\":{\"a\":\"");
    memset(piece, 'x', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    for (size_t len = 0; len < 3 * (size_t)POD_JSON_MAX_BYTES; len += sizeof(piece) - 1)
        send_body(&w->script, piece);
    send_body(&w->script, "\"}}}}\n" EVENT("ADDED", POD("3", "40")));
    expect_pods(w, "u1 u2 u3 ");
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, NULL);
}

static void test_what_is_no_stream_of_objects(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, "<html>");
    expect_failure(w, "cannot be read", NULL);
}

/* ---- ends */

static void test_broken_watch_goes_on(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->script.random = 1u << 31;
    end(&w->script, HTTP_FAILED);
    w->script.random = 0;
    expect_timer(&w->script, SPAN_MS(500));
    expect_watch(w, "20");
    assert_int_equal(w->n_health, 1);
}

static void test_short_watches(void **state)
{
    struct world *w = *state;

    watch_start(w->script.watch);
    respond(&w->script, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
    end(&w->script, HTTP_COMPLETE);
    expect_failure(w, "as soon as it began", NULL);
    respond(&w->script, 200, 0);
    assert_int_equal(w->health, POD_WATCH_FAILING); /* a short watch does not make it live */
    expect_timer(&w->script, SPAN_SEC(1));
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

/* The pods of a new round do not prove that the next watch lasts longer. */
static void test_short_watches_with_events(void **state)
{
    struct world *w = *state;

    watch_start(w->script.watch);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("1", "15")));
    end(&w->script, HTTP_FAILED);
    expect_failure(w, "as soon as it began", NULL);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("1", "15")));
    end(&w->script, HTTP_COMPLETE);
    assert_int_equal(w->script.timer_at, w->script.now + SPAN_MS(1600));
}

static void test_data_that_went_back(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, BOOKMARK("19"));
    expect_failure(w, "went back from version 20 to 19", NULL);
}

static void test_server_does_not_answer(void **state)
{
    struct world *w = *state;

    watch_start(w->script.watch);
    watch_on_sent(w->script.watch);
    expect_timer(&w->script, SPAN_SEC(30));
    expect_failure(w, "did not answer", NULL);
}

static void test_server_is_away(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "20");
    end(&w->script, HTTP_REFUSED);
    expect_failure(w, "the wire was cut", NULL);
    expect_pods(w, "u1 u2 ");
    end(&w->script, HTTP_FAILED);
    assert_int_equal(w->script.timer_at, w->script.now + SPAN_MS(1600));
}

static void test_no_request(void **state)
{
    struct world *w = *state;

    w->script.request_result = -EAGAIN;
    watch_start(w->script.watch);
    w->script.request_result = 0;
    expect_failure(w, "no request today", NULL);
}

/* ---- refusals */

static void test_credentials_are_refused(void **state)
{
    struct world *w = *state;

    watch_start(w->script.watch);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    assert_int_equal(w->health, POD_WATCH_REFUSED);
    assert_int_equal(w->script.n_rejected, 1);
    expect_timer(&w->script, SPAN_MS(800));
    expect_watch(w, NULL);
    respond(&w->script, 200, 0);
    assert_int_equal(w->health, POD_WATCH_LIVE);
}

/* The right may be granted soon after the start; later only by an operator. */
static void test_forbidden(void **state)
{
    static const span_us waits[] = {SPAN_MS(800),   SPAN_MS(1600), SPAN_MS(3200), SPAN_MS(6400),
                                    SPAN_MS(12800), SPAN_SEC(300), SPAN_SEC(300)};
    struct world *w = *state;

    watch_start(w->script.watch);
    for (size_t i = 0; i < ELEMENTS_OF(waits); i++) {
        answer(&w->script, 403, STATUS("403", "pods is forbidden"));
        assert_int_equal(w->health, POD_WATCH_REFUSED);
        assert_non_null(strstr(w->problem.text, "pods is forbidden: allow this identity to get, "
                                                "list and watch pods"));
        expect_timer(&w->script, waits[i]);
        expect_watch(w, NULL);
    }
    respond(&w->script, 200, 0);
    pass(&w->script, SPAN_SEC(200));
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 403, "no JSON");
    expect_timer(&w->script, SPAN_MS(800));
}

static void test_old_version_is_refused(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "20");
    answer(&w->script, 410, STATUS("410", "too old"));
    expect_expired(w);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", POD("2", "5")) BOOKMARK("30"));
    pass(&w->script, 2 * BACKOFF_QUIET_RESET);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "30");
    answer(&w->script, 410, STATUS("410", "too old"));
    expect_expired(w);
}

/* A watch without a cursor has nothing that could be too old. */
static void test_new_round_is_refused_as_old(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 410, STATUS("410", "too old"));
    expect_expired(w);
    answer(&w->script, 410, STATUS("410", "too old"));
    assert_int_equal(w->health, POD_WATCH_FAILING);
    assert_non_null(strstr(w->problem.text, "410 (Gone)"));
    expect_timer(&w->script, SPAN_MS(1600));
    expect_watch(w, NULL);
}

static void test_put_off(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(&w->script, HTTP_COMPLETE);
    respond(&w->script, 429, SPAN_SEC(7));
    end(&w->script, HTTP_COMPLETE);
    expect_timer(&w->script, SPAN_SEC(7));
    expect_watch(w, "20");
}

static void test_long_refusal(void **state)
{
    struct world *w = *state;
    char piece[65536];

    memset(piece, 'x', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    watch_start(w->script.watch);
    respond(&w->script, 503, 0);
    send_body(&w->script, piece);
    send_body(&w->script, piece);
    end(&w->script, HTTP_COMPLETE);
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
        w->script.watch = pod_watch_watch(w->watch);
        watch_start(w->script.watch);
        if (w->script.path[0] != '\0')
            respond(&w->script, 200, 0);
        if (w->script.path[0] != '\0')
            send_body(&w->script, EVENT("ADDED", POD("1", "15")) BOOKMARK("20"));
        w->watch = pod_watch_free(w->watch);
        pods_remove(&w->pods, "u1");
    }
    w->watch = own;
    w->script.watch = pod_watch_watch(own);
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
        TEST(test_new_round_is_refused_as_old),
        TEST(test_put_off),
        TEST(test_long_refusal),
        TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
