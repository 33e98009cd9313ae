/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/reflector.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/fetcher/api/scripted_watch.h"

struct world {
    struct script script;
    struct store *store;
    struct store_subscription *subscription;
    struct reflector *reflector;
    const struct object_key *key;  /* the store's */
    unsigned n_changes;            /* that the store reported */
    bool leaves_on_change;         /* the subscriber unsubscribes from within the callback */
    unsigned n_changes_of_content; /* the part of them that was not only about the source */
    mono_us content_received_at;
};

/* ---- the reflector's surroundings */

static const struct watch_io script_io = SCRIPT_IO;

static int world_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct world *w = userdata;
    int r;

    w->key = key;
    r = reflector_new(w->store, key, &script_io, &w->script, &w->reflector);
    if (r < 0)
        return r;
    w->script.watch = reflector_watch(w->reflector);
    watch_start(w->script.watch);
    return 0;
}

static void world_unwatch(void *userdata, const struct object_key *key)
{
    struct world *w = userdata;

    assert_ptr_equal(w->key, key);
    w->reflector = reflector_free(w->reflector);
    w->key = NULL;
}

static void world_changed(void *userdata, const struct store_view *view)
{
    struct world *w = userdata;

    w->n_changes++;
    if (view->received_at != w->content_received_at || view->received_at == 0)
        w->n_changes_of_content += view->presence != STORE_UNKNOWN;
    w->content_received_at = view->received_at;
    if (w->leaves_on_change)
        w->subscription = store_unsubscribe(w->subscription);
}

static void world_subscribe(struct world *w)
{
    static const struct object_key key = {OBJECT_SECRET, "default", "db", NULL};

    assert_int_equal(store_subscribe(w->store, &key, world_changed, w, &w->subscription, NULL), 0);
}

static int world_setup(void **state)
{
    static const struct store_source source = {.watch = world_watch, .unwatch = world_unwatch};
    struct world *w = calloc(1, sizeof(*w));

    assert(w != NULL);
    script_init(&w->script);
    assert_int_equal(store_new(&w->store), 0);
    store_set_source(w->store, &source, w);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    w->subscription = store_unsubscribe(w->subscription);
    assert_null(w->reflector);
    script_expect_freed(&w->script);
    store_free(w->store);
    free(w);
    return 0;
}

/* ---- what the API server sends */

/* A Secret in JSON with one key; its value in base64. */
#define SECRET_OF(namespace, name, version, value)                                                 \
    "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"" name                    \
    "\",\"namespace\":\"" namespace "\",\"uid\":\"u1\",\"resourceVersion\":\"" version             \
                                    "\"},\"type\":\"Opaque\",\"data\":{\"password\":\"" value      \
                                    "\"}}"
#define SECRET(version, value) SECRET_OF("default", "db", version, value)
#define IMMUTABLE(version, value)                                                                  \
    "{\"kind\":\"Secret\",\"immutable\":true,\"metadata\":{\"name\":\"db\",\"namespace\":"         \
    "\"default\",\"uid\":\"u1\",\"resourceVersion\":\"" version "\"},\"data\":{\"password\":"      \
    "\"" value "\"}}"
#define LIST(version, items)                                                                       \
    "{\"kind\":\"SecretList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"" version  \
    "\"},\"items\":[" items "]}"
#define BOOKMARK(version) BOOKMARK_OF("Secret", version)
#define TOO_LARGE                                                                                  \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"Timeout: Too large resource "       \
    "version: 9, current: 5\",\"reason\":\"Timeout\",\"details\":{\"causes\":[{\"reason\":"        \
    "\"ResourceVersionTooLarge\",\"message\":\"Too large resource version\"}],"                    \
    "\"retryAfterSeconds\":1},\"code\":504}"
#define TOO_LARGE_OLD                                                                              \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"Timeout\",\"details\":{"            \
    "\"causes\":[{\"message\":\"Too large resource version\"}]},\"code\":504}"

#define ONE   "b25l"     /* "one" */
#define TWO   "dHdv"     /* "two" */
#define THREE "dGhyZWU=" /* "three" */

/* ---- expectations */

#define BASE_PATH "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Ddb"

/* @cursor: NULL for a consistent list */
static void expect_list(struct world *w, const char *cursor)
{
    char path[512] = BASE_PATH;

    if (cursor != NULL)
        snprintf(path, sizeof(path), "%s&resourceVersionMatch=NotOlderThan%s%s", BASE_PATH,
                 "&resourceVersion=", cursor);
    assert_string_equal(w->script.path, path);
    assert_int_equal(w->script.total_limit, SPAN_SEC(30));
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

static void expect_watch_for(struct world *w, const char *cursor, unsigned sec)
{
    char path[512];

    snprintf(path, sizeof(path),
             "%s&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s",
             BASE_PATH, sec, cursor);
    assert_string_equal(w->script.path, path);
    assert_int_equal(w->script.total_limit, SPAN_SEC(sec) + SPAN_SEC(30));
}

static void expect_watch(struct world *w, const char *cursor)
{
    expect_watch_for(w, cursor, 300);
}

static void expect_source(struct world *w, enum store_source_state state, const char *reason)
{
    const struct store_view *view = store_peek(w->subscription);

    assert_string_equal(store_source_state_name(view->source_state),
                        store_source_state_name(state));
    if (strstr(kept_error_text(&view->source_error), reason) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", kept_error_text(&view->source_error), reason);
    assert_int_equal(kept_error_text(&view->source_error)[0] == '\0', reason[0] == '\0');
}

static void expect_content(struct world *w, enum store_presence presence, const char *value)
{
    const struct store_view *view = store_peek(w->subscription);

    assert_string_equal(store_presence_name(view->presence), store_presence_name(presence));
    if (value == NULL) {
        assert_null(view->object);
        return;
    }
    assert_int_equal(view->object->n_entries, 1);
    assert_int_equal(view->object->entries[0].len, strlen(value));
    assert_memory_equal(view->object->entries[0].bytes, value, strlen(value));
}

/* @cursor: NULL for a consistent one */
static void expect_streamed_list(struct world *w, const char *cursor)
{
    char path[512];

    snprintf(path, sizeof(path), "%s&resourceVersionMatch=NotOlderThan%s%s%s", BASE_PATH,
             cursor != NULL ? "&resourceVersion=" : "", cursor != NULL ? cursor : "",
             "&watch=true&allowWatchBookmarks=true&timeoutSeconds=300&sendInitialEvents=true");
    assert_string_equal(w->script.path, path);
    expect_state(&w->script, "syncing");
}

/* Up to a watch that is open at cursor 5, and shows "one" in version 3. */
static void begin_watching(struct world *w)
{
    world_subscribe(w);
    expect_list(w, NULL);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    expect_state(&w->script, "watching");
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_content(w, STORE_PRESENT, "one");
}

/* ---- the happy path */

static void test_list_then_watch(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    expect_source(w, STORE_SOURCE_STARTING, "");
    expect_content(w, STORE_UNKNOWN, NULL);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    expect_content(w, STORE_PRESENT, "one");
    expect_source(w, STORE_SOURCE_STARTING, "");
    assert_int_equal(store_peek(w->subscription)->received_at, w->script.now);
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

/* G19: no request until the next subscriber's, which finds it created again. */
static void test_immutable_object_is_not_watched(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", IMMUTABLE("3", ONE)));
    expect_state(&w->script, "idle");
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_content(w, STORE_PRESENT, "one");
    assert_string_equal(w->script.path, "");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
    reflector_refresh(w->reflector);
    expect_list(w, NULL);
    answer(&w->script, 200, LIST("7", IMMUTABLE("3", ONE)));
    expect_state(&w->script, "idle");
    assert_int_equal(w->n_changes_of_content, 1);
    reflector_refresh(w->reflector);
    answer(&w->script, 503, "");
    expect_source(w, STORE_SOURCE_FAILING, "503");
    expect_content(w, STORE_PRESENT, "one");
    w->script.now = w->script.timer_at;
    watch_on_timer(w->script.watch);
    answer(&w->script, 200, LIST("9", SECRET("8", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    expect_watch(w, "9");
}

/* G20: it becomes immutable while it is watched. */
static void test_object_becomes_immutable(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    reflector_refresh(w->reflector); /* no effect while watching */
    expect_state(&w->script, "watching");
    send_body(&w->script,
              EVENT("MODIFIED", IMMUTABLE("6", TWO)) EVENT("DELETED", IMMUTABLE("7", TWO)));
    expect_state(&w->script, "idle");
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_content(w, STORE_PRESENT, "two");
    assert_string_equal(w->script.path, "");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

static void test_configmap_path(void **state)
{
    static const struct object_key key = {OBJECT_CONFIGMAP, "kube-system", "a.b-c", NULL};
    struct world *w = *state;

    assert_int_equal(store_subscribe(w->store, &key, world_changed, w, &w->subscription, NULL), 0);
    assert_string_equal(
        w->script.path,
        "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Da.b-c");
}

static void test_absent_object(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", ""));
    expect_content(w, STORE_ABSENT, NULL);
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", SECRET("6", ONE)));
    expect_content(w, STORE_PRESENT, "one");
}

/* Go's nil slice */
static void test_null_items(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":null}");
    expect_content(w, STORE_ABSENT, NULL);
    expect_watch(w, "5");
}

static void test_events(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_MS(40));
    send_body(&w->script, EVENT("MODIFIED", SECRET("7", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    assert_int_equal(store_peek(w->subscription)->received_at, w->script.now);
    /* an object of which only the metadata was changed is passed on like any other */
    send_body(&w->script, EVENT("MODIFIED", SECRET("8", TWO)));
    assert_string_equal(store_peek(w->subscription)->object->resource_version, "8");
    send_body(&w->script, EVENT("DELETED", SECRET("9", TWO)));
    expect_content(w, STORE_ABSENT, "two");
    send_body(&w->script, EVENT("ADDED", SECRET("10", THREE)));
    expect_content(w, STORE_PRESENT, "three");
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "10");
}

/* MODIFIED of a missing object is an upsert (J5), and so is ADDED of an existing one. */
static void test_events_are_upserts(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("ADDED", SECRET("6", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    send_body(&w->script, EVENT("DELETED", SECRET("7", TWO)) EVENT("DELETED", SECRET("8", TWO)));
    expect_content(w, STORE_ABSENT, "two");
    send_body(&w->script, EVENT("MODIFIED", SECRET("9", THREE)));
    expect_content(w, STORE_PRESENT, "three");
}

static void test_events_in_pieces(void **state)
{
    static const char two[] =
        EVENT("MODIFIED", SECRET("7", TWO)) EVENT("MODIFIED", SECRET("8", THREE));
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i + 1 < sizeof(two); i++) {
        w->script.now++;
        watch_on_body(w->script.watch, two + i, 1);
    }
    expect_content(w, STORE_PRESENT, "three");
    assert_int_equal(w->n_changes_of_content, 3);
    /* the bracket was the last but one byte */
    assert_int_equal(store_peek(w->subscription)->received_at, w->script.now - 1);
}

static void test_bookmarks_move_the_cursor(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, BOOKMARK("60"));
    send_body(&w->script, BOOKMARK("70"));
    assert_int_equal(w->n_changes_of_content, 1);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "70");
}

/* J5: events of other objects are ignored; those of the same kind move the cursor. */
static void test_foreign_events(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("MODIFIED", SECRET_OF("default", "other", "11", TWO)));
    send_body(&w->script, EVENT("DELETED", SECRET_OF("elsewhere", "db", "12", TWO)));
    send_body(&w->script, EVENT("SURPRISE", SECRET("13", TWO)));
    send_body(&w->script,
              EVENT("MODIFIED", "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{"
                                "\"name\":\"db\",\"namespace\":\"default\","
                                "\"resourceVersion\":\"14\"}}"));
    expect_content(w, STORE_PRESENT, "one");
    expect_source(w, STORE_SOURCE_LIVE, "");
    assert_int_equal(w->n_changes_of_content, 1);
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "13");
}

static void test_foreign_items(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200,
           LIST("5", SECRET_OF("default", "other", "2", TWO) "," SECRET_OF(
                         "elsewhere", "db", "2", TWO) "," SECRET("3", ONE)));
    expect_content(w, STORE_PRESENT, "one");
}

static void test_odd_cursor_is_escaped(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("a&b=c d", ""));
    expect_watch(w, "a%26b%3Dc%20d");
}

/* ---- watches that end */

static void test_clean_close(void **state)
{
    struct world *w = *state;
    unsigned n_changes;

    begin_watching(w);
    n_changes = w->n_changes;
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    assert_int_equal(reflector_restarts(w->reflector), 1);
    assert_int_equal(w->n_changes, n_changes); /* no notification */
}

/* J12: as a close; an incomplete event is dropped. */
static void test_truncated_frame(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("MODIFIED", SECRET("7", TWO)) "{\"type\":\"MODIF");
    end(&w->script, HTTP_FAILED);
    expect_timer(&w->script, 0);
    expect_watch(w, "7");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("MODIFIED", SECRET("8", THREE)));
    expect_content(w, STORE_PRESENT, "three");
    expect_source(w, STORE_SOURCE_LIVE, "");
}

static void test_broken_connection(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(20));
    end(&w->script, HTTP_FAILED);
    expect_timer(&w->script, 0);
    expect_watch(w, "5");
    expect_source(w, STORE_SOURCE_LIVE, "");
    end(&w->script, HTTP_REFUSED);
    expect_source(w, STORE_SOURCE_FAILING, "the wire was cut");
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5"); /* the server may have lost the cursor's version */
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
}

/* Watches of a lost connection are requested again within a second, not at the same time. */
static void test_return_is_spread(void **state)
{
    static const struct {
        uint32_t random;
        span_us wait;
    } cases[] = {{0, 0}, {UINT32_MAX / 4, SPAN_MS(250) - 1}, {UINT32_MAX, SPAN_SEC(1) - 1}};
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        pass(&w->script, SPAN_SEC(20));
        w->script.random = cases[i].random;
        end(&w->script, HTTP_FAILED);
        expect_source(w, STORE_SOURCE_LIVE, ""); /* no failure yet */
        w->script.random = 0;
        expect_timer(&w->script, cases[i].wait);
        expect_watch(w, "5");
        respond(&w->script, 200, 0);
    }
    assert_int_equal(w->n_changes_of_content, 1);
}

/* Of a server that does not end watches itself: an event between two of them does not wait. */
static void test_watch_at_its_limit_is_renewed_at_once(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(330));
    w->script.random = UINT32_MAX;
    end(&w->script, HTTP_TIMED_OUT);
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_watch_for(w, "5", 600);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("MODIFIED", SECRET("7", TWO)));
    expect_content(w, STORE_PRESENT, "two");
}

/* J6. It is live again after an event or a second. */
static void test_short_watches(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(1) - 1);
    end(&w->script, HTTP_COMPLETE);
    expect_source(w, STORE_SOURCE_FAILING, "as soon as it began");
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5");
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_FAILING, "as soon as it began");
    end(&w->script, HTTP_COMPLETE);
    expect_timer(&w->script, 2 * BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_timer(&w->script, SPAN_SEC(1));
    expect_source(w, STORE_SOURCE_LIVE, "");
    assert_int_equal(w->n_changes_of_content, 1);
}

static void test_short_watch_with_event(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    end(&w->script, HTTP_COMPLETE);
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    send_body(&w->script, BOOKMARK("6"));
    expect_source(w, STORE_SOURCE_LIVE, "");
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "6");
}

static void test_silent_server(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    expect_watch(w, "5");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER); /* as long as it waits for its turn */
    watch_on_sent(w->script.watch);
    expect_timer(&w->script, SPAN_SEC(30));
    assert_string_equal(w->script.path, "");
    expect_source(w, STORE_SOURCE_FAILING, "did not answer");
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5");
}

/* ---- ERROR events, and frames that are none */

static const struct {
    const char *text;
    const char *reason;
} bad_events[] = {
    {EVENT("ERROR", STATUS("500", "etcd is away")), "ended the watch with 500: etcd is away"},
    {EVENT("ERROR", STATUS("500", "etcd is away")), "500: etcd is away"},
    {EVENT("ERROR", "{}"), "no reason given"},
    {"<html>", "cannot be read"},
    {"{\"type\":\"MODIFIED\",\"object\":}", "invalid JSON"},
    {"{\"type\":\"MODIFIED\",\"object\":{\"a\":\"\n\"}}", "cannot be read"},
    {"{\"object\":{}}", "without type or object"},
    {"{\"type\":\"ADDED\",\"object\":7}", "without type or object"},
    {"{\"type\":7,\"object\":{}}", "without type or object"},
};

/* J7: back-off, then a list at the cursor, for every code. */
static void test_bad_events(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < ELEMENTS_OF(bad_events); i++) {
        w->script.now += 2 * BACKOFF_QUIET_RESET;
        send_body(&w->script, bad_events[i].text);
        assert_string_equal(w->script.path, "");
        expect_source(w, STORE_SOURCE_FAILING, bad_events[i].reason);
        expect_content(w, STORE_PRESENT, "one");
        expect_timer(&w->script, BACKOFF_FIRST);
        expect_list(w, "5");
        answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
        respond(&w->script, 200, 0);
        expect_source(w, STORE_SOURCE_LIVE, "");
    }
    assert_int_equal(w->n_changes_of_content, 1); /* J13 */
}

/* Events after an ERROR in the same piece are ignored. */
/* J7: nothing is reported, unless it happens again before an event. */
static void test_expired_watch(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    for (unsigned i = 0; i < 2; i++) {
        w->script.now += 2 * BACKOFF_QUIET_RESET;
        send_body(&w->script, EVENT("ERROR", STATUS("410", "too old")));
        assert_string_equal(w->script.path, "");
        expect_source(w, STORE_SOURCE_LIVE, "");
        expect_timer(&w->script, BACKOFF_FIRST);
        expect_list(w, "5");
        answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
        respond(&w->script, 200, 0);
        if (i == 0)
            send_body(&w->script, BOOKMARK("5"));
    }
    send_body(&w->script, EVENT("ERROR", STATUS("410", "too old")));
    expect_source(w, STORE_SOURCE_FAILING, "ended the watch with 410: too old");
}

static void test_expired_cursor(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "5");
    answer(&w->script, 410, STATUS("410", "gone"));
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("7", SECRET("3", ONE)));
    expect_watch(w, "7");
    answer(&w->script, 410, STATUS("410", "gone"));
    expect_source(w, STORE_SOURCE_FAILING, "410 (Gone)");
}

static void test_events_after_error(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script,
              EVENT("ERROR", STATUS("410", "gone")) EVENT("MODIFIED", SECRET("9", TWO)));
    expect_content(w, STORE_PRESENT, "one");
    expect_state(&w->script, "waiting");
}

static void test_too_long_event(void **state)
{
    static char piece[65536];
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, "{\"type\":\"MODIFIED\",\"object\":\"");
    memset(piece, 'a', sizeof(piece));
    for (size_t sent = 0; sent < (16u << 20) && w->script.path[0] != '\0'; sent += sizeof(piece))
        watch_on_body(w->script.watch, piece, sizeof(piece));
    expect_source(w, STORE_SOURCE_FAILING, "File too large");
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5");
}

/* ---- requests that are refused */

enum next { NEXT_LIST, NEXT_CONSISTENT, NEXT_WATCH };

struct refusal {
    int status; /* 0: none came */
    const char *text;
    span_us retry_after;
    enum http_outcome outcome;
    enum next next;
    span_us wait; /* 0: at once */
    const char *reason;
};

static void expect_next(struct world *w, enum next next)
{
    switch (next) {
    case NEXT_LIST:
        expect_list(w, "5");
        break;
    case NEXT_CONSISTENT:
        expect_list(w, NULL);
        break;
    case NEXT_WATCH:
        expect_watch(w, "5");
        break;
    }
}

/* Refuse the request under way, and check the next one. */
static void refuse(struct world *w, const struct refusal *refusal)
{
    if (refusal->status != 0)
        respond(&w->script, refusal->status, refusal->retry_after);
    if (refusal->text != NULL)
        send_body(&w->script, refusal->text);
    end(&w->script, refusal->outcome);
    expect_content(w, STORE_PRESENT, "one");
    if (refusal->wait > 0) {
        expect_source(w, STORE_SOURCE_FAILING, refusal->reason);
        expect_timer(&w->script, refusal->wait);
    }
    expect_next(w, refusal->next);
}

/* Bring the reflector from a list or a watch that is under way to an open watch at cursor 5. */
static void recover(struct world *w)
{
    if (strstr(w->script.path, "watch=true") == NULL)
        answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
    w->script.now += 2 * BACKOFF_QUIET_RESET;
}

static const struct refusal list_refusals[] = {
    {403, STATUS("403", "secrets \\\"db\\\" is forbidden"), 0, HTTP_COMPLETE, NEXT_LIST,
     BACKOFF_FIRST, "(Forbidden): secrets \"db\" is forbidden: allow this identity"},
    {404, "404 page not found", 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "is an API server's"},
    {410, STATUS("410", "gone"), 0, HTTP_COMPLETE, NEXT_CONSISTENT, 0, ""},
    {429, STATUS("429", "slow down"), SPAN_SEC(7), HTTP_COMPLETE, NEXT_LIST, SPAN_SEC(7),
     "429 (Too Many Requests): slow down"},
    {429, NULL, 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "429"},
    {500, STATUS("500", "etcd is away"), 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST,
     "etcd is away"},
    {503, "<html>", SPAN_SEC(2), HTTP_COMPLETE, NEXT_LIST, SPAN_SEC(2),
     "503 (Service Unavailable)"},
    {504, TOO_LARGE, SPAN_SEC(1), HTTP_COMPLETE, NEXT_CONSISTENT, 0, ""},
    {504, TOO_LARGE_OLD, 0, HTTP_COMPLETE, NEXT_CONSISTENT, 0, ""},
    {504, STATUS("504", "timeout"), 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "504"},
    {302, "moved", 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "302 (an unexpected answer)"},
    {200, "<html>", 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "list cannot be read"},
    {200, "{}", 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "not a list of secrets"},
    {200, "{\"metadata\":{},\"items\":[", 0, HTTP_FAILED, NEXT_LIST, BACKOFF_FIRST, "wire"},
    {0, NULL, 0, HTTP_REFUSED, NEXT_LIST, BACKOFF_FIRST, "wire"},
    {0, NULL, 0, HTTP_FAILED, NEXT_LIST, BACKOFF_FIRST, "wire"},
};

static void test_refused_lists(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < ELEMENTS_OF(list_refusals); i++) {
        send_body(&w->script, EVENT("ERROR", STATUS("500", "for the sake of a list")));
        w->script.now = w->script.timer_at;
        watch_on_timer(w->script.watch);
        expect_list(w, "5");
        w->script.now += 2 * BACKOFF_QUIET_RESET;
        refuse(w, &list_refusals[i]);
        recover(w);
    }
    assert_int_equal(w->n_changes_of_content, 1);
}

static const struct refusal watch_refusals[] = {
    {403, STATUS("403", "no watch"), 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "no watch"},
    {429, NULL, SPAN_SEC(3), HTTP_COMPLETE, NEXT_WATCH, SPAN_SEC(3), "429"},
    {503, NULL, 0, HTTP_COMPLETE, NEXT_LIST, BACKOFF_FIRST, "503"},
    {0, NULL, 0, HTTP_REFUSED, NEXT_LIST, BACKOFF_FIRST, "wire"},
    {0, NULL, 0, HTTP_FAILED, NEXT_LIST, BACKOFF_FIRST, "wire"},
};

static void test_refused_watches(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    for (size_t i = 0; i < ELEMENTS_OF(watch_refusals); i++) {
        w->script.now += SPAN_SEC(300);
        end(&w->script, HTTP_COMPLETE);
        expect_watch(w, "5");
        refuse(w, &watch_refusals[i]);
        recover(w);
    }
    assert_int_equal(w->n_changes_of_content, 1);
}

/* J8: once; a consistent list that is refused as well has to wait, and stays consistent. */
static void test_consistent_list_refused(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("ERROR", STATUS("410", "gone")));
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5");
    answer(&w->script, 410, STATUS("410", "gone"));
    expect_list(w, NULL);
    answer(&w->script, 410, STATUS("410", "gone"));
    expect_timer(&w->script, 2 * BACKOFF_FIRST);
    expect_list(w, NULL);
    answer(&w->script, 200, LIST("9", SECRET("8", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    respond(&w->script, 200, 0);
    end(&w->script, HTTP_COMPLETE);
    expect_timer(&w->script, 4 * BACKOFF_FIRST);
    expect_list(w, "9"); /* the flag was cleared */
}

static void test_backoff_grows(void **state)
{
    span_us wait = BACKOFF_FIRST;
    struct world *w = *state;

    world_subscribe(w);
    for (int i = 0; i < 8; i++) {
        end(&w->script, HTTP_REFUSED);
        expect_source(w, STORE_SOURCE_FAILING, "wire");
        expect_timer(&w->script, wait);
        expect_list(w, NULL);
        wait = 2 * wait < BACKOFF_MAX ? 2 * wait : BACKOFF_MAX;
    }
    assert_int_equal(w->n_changes, 1); /* no flapping */
}

static void expect_refusal(const struct world *w, enum store_refusal refusal)
{
    assert_int_equal(store_peek(w->subscription)->refusal, refusal);
}

/* K3 */
static void test_forbidden_at_first_contact(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    for (span_us wait = SPAN_MS(50); wait <= SPAN_MS(800); wait *= 2) {
        answer(&w->script, 403, STATUS("403", "no relationship found"));
        expect_source(w, STORE_SOURCE_STARTING, "");
        expect_timer(&w->script, wait);
        expect_list(w, NULL);
    }
    answer(&w->script, 403, STATUS("403", "no relationship found"));
    expect_source(w, STORE_SOURCE_FAILING, "no relationship found");
    expect_refusal(w, STORE_FORBIDDEN);
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    expect_refusal(w, STORE_NOT_REFUSED);
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
}

/* The right is withdrawn while it is watched, and granted again for the same object. */
static void test_rights_withdrawn(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 403, STATUS("403", "not any more"));
    expect_source(w, STORE_SOURCE_FAILING, "not any more");
    expect_refusal(w, STORE_FORBIDDEN);
    expect_content(w, STORE_PRESENT, "one");
    expect_timer(&w->script, BACKOFF_FIRST);
    end(&w->script, HTTP_FAILED); /* no information about rights */
    expect_refusal(w, STORE_FORBIDDEN);
    expect_timer(&w->script, 2 * BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_refusal(w, STORE_NOT_REFUSED);
    assert_int_equal(w->n_changes_of_content, 1);
}

/* The lists of the back-off, all refused, and the time of each since the first 403. */
static const struct {
    span_us wait;
    enum store_refusal refusal;
} refused_in_a_row[] = {
    {SPAN_MS(800), STORE_FORBIDDEN},  /* 0.8 s */
    {SPAN_MS(1600), STORE_FORBIDDEN}, /* 2.4 s */
    {SPAN_MS(3200), STORE_FORBIDDEN}, /* 5.6 s */
    {SPAN_MS(6400), STORE_REVOKED},   /* 12 s */
};

static void test_rights_are_revoked_after_a_while(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 403, STATUS("403", "not any more"));
    for (size_t i = 0; i < ELEMENTS_OF(refused_in_a_row); i++) {
        expect_refusal(w, STORE_FORBIDDEN);
        expect_timer(&w->script, refused_in_a_row[i].wait);
        answer(&w->script, 403, STATUS("403", "not any more"));
        expect_refusal(w, refused_in_a_row[i].refusal);
    }
    expect_timer(&w->script, SPAN_MS(12800));
    end(&w->script, HTTP_FAILED);
    expect_refusal(w, STORE_REVOKED);
    expect_timer(&w->script, SPAN_MS(25600));
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_refusal(w, STORE_NOT_REFUSED);
}

/* An API server that restarts: its authorizers refuse at first what they allow later. */
static void test_rights_are_kept_while_a_server_starts(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(100));
    end(&w->script, HTTP_FAILED);
    expect_timer(&w->script, 0);
    for (span_us wait = BACKOFF_FIRST; wait <= 8 * BACKOFF_FIRST; wait *= 2) {
        /* not reached after a 403: the times do not add up */
        answer(&w->script, 403, STATUS("403", "no relationship found"));
        expect_refusal(w, STORE_FORBIDDEN);
        expect_timer(&w->script, wait);
        end(&w->script, HTTP_REFUSED);
        expect_timer(&w->script, 2 * wait);
        wait *= 2;
    }
    answer(&w->script, 403, STATUS("403", "no relationship found"));
    expect_refusal(w, STORE_FORBIDDEN);
    expect_timer(&w->script, 16 * BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_refusal(w, STORE_NOT_REFUSED);
    expect_content(w, STORE_PRESENT, "one");
}

/* The first contact of a daemon that has taken over the volumes of another one. */
static void test_rights_are_revoked_at_first_contact(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    for (span_us wait = SPAN_MS(50); wait <= SPAN_MS(800); wait *= 2) {
        answer(&w->script, 403, STATUS("403", "no relationship found"));
        expect_timer(&w->script, wait);
    }
    for (span_us wait = BACKOFF_FIRST; wait <= 8 * BACKOFF_FIRST; wait *= 2) {
        answer(&w->script, 403, STATUS("403", "no relationship found"));
        expect_refusal(w, STORE_FORBIDDEN);
        expect_timer(&w->script, wait);
    }
    answer(&w->script, 403, STATUS("403", "no relationship found"));
    expect_refusal(w, STORE_REVOKED);
}

/* The current watch ends early, and the next ones are short. */
static void test_rights_are_checked(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(100));
    reflector_check_rights(w->reflector);
    expect_timer(&w->script, SPAN_SEC(30));
    expect_watch_for(w, "5", 30);
    respond(&w->script, 200, 0);
    pass(&w->script, SPAN_SEC(30));
    end(&w->script, HTTP_COMPLETE);
    expect_watch_for(w, "5", 30);
    answer(&w->script, 403, STATUS("403", "not any more"));
    expect_refusal(w, STORE_FORBIDDEN);
}

static void test_rights_to_an_immutable_object(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", IMMUTABLE("3", ONE)));
    reflector_check_rights(w->reflector);
    for (int i = 0; i < 2; i++) {
        expect_state(&w->script, "idle");
        expect_timer(&w->script, SPAN_SEC(30));
        expect_list(w, "5");
        answer(&w->script, 200, LIST("5", IMMUTABLE("3", ONE)));
    }
    expect_timer(&w->script, SPAN_SEC(30));
    answer(&w->script, 403, STATUS("403", "not any more"));
    expect_refusal(w, STORE_FORBIDDEN);
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", IMMUTABLE("3", ONE)));
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_refusal(w, STORE_NOT_REFUSED);
}

static void test_huge_refusal(void **state)
{
    static char piece[65536];
    struct world *w = *state;

    world_subscribe(w);
    respond(&w->script, 500, 0);
    memset(piece, ' ', sizeof(piece));
    for (int i = 0; i < 1000; i++)
        watch_on_body(w->script.watch, piece, sizeof(piece));
    end(&w->script, HTTP_COMPLETE);
    expect_source(w, STORE_SOURCE_FAILING, "500");
}

static void test_too_long_list(void **state)
{
    static char piece[65536];
    struct world *w = *state;

    world_subscribe(w);
    respond(&w->script, 200, 0);
    memset(piece, ' ', sizeof(piece));
    for (size_t sent = 0; sent <= (16u << 20) && w->script.path[0] != '\0'; sent += sizeof(piece))
        watch_on_body(w->script.watch, piece, sizeof(piece));
    assert_string_equal(w->script.path, "");
    expect_source(w, STORE_SOURCE_FAILING, "File too large");
    expect_timer(&w->script, BACKOFF_FIRST);
}

static void test_request_cannot_be_made(void **state)
{
    struct world *w = *state;

    w->script.request_result = -ENOMEM;
    world_subscribe(w);
    expect_source(w, STORE_SOURCE_FAILING, "no request today");
    w->script.request_result = 0;
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, NULL);
}

/* ---- credentials */

static void test_waits_for_credentials(void **state)
{
    struct error e = {.text = "the plug-in failed"};
    struct world *w = *state;

    w->script.request_result = WATCH_NO_CREDENTIALS;
    world_subscribe(w);
    expect_state(&w->script, "awaiting-credentials");
    expect_source(w, STORE_SOURCE_STARTING, "");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
    watch_on_credentials(w->script.watch, &e);
    expect_state(&w->script, "awaiting-credentials");
    expect_source(w, STORE_SOURCE_FAILING, "the plug-in failed");
    w->script.request_result = 0;
    watch_on_credentials(w->script.watch, NULL);
    expect_list(w, NULL);
}

static void test_unauthorized_list(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_state(&w->script, "awaiting-credentials");
    assert_int_equal(w->script.n_rejected, 1);
    expect_source(w, STORE_SOURCE_STARTING, "");
    watch_on_credentials(w->script.watch, NULL);
    expect_list(w, NULL);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    assert_int_equal(w->script.n_rejected, 2);
    expect_source(w, STORE_SOURCE_FAILING, "check the credentials");
    watch_on_credentials(w->script.watch, NULL); /* not sooner than the back-off */
    expect_state(&w->script, "waiting");
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
}

static void test_unauthorized_watch(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_state(&w->script, "awaiting-credentials");
    expect_source(w, STORE_SOURCE_LIVE, "");
    watch_on_credentials(w->script.watch, NULL);
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    answer(&w->script, 401, STATUS("401", "Unauthorized")); /* the count was reset */
    expect_state(&w->script, "awaiting-credentials");
}

/* Who gets them from outside does not know when. */
static void test_waits_for_credentials_in_words(void **state)
{
    struct world *w = *state;

    w->script.request_result = WATCH_NO_CREDENTIALS;
    w->script.request_words = "no token yet";
    world_subscribe(w);
    expect_state(&w->script, "awaiting-credentials");
    expect_source(w, STORE_SOURCE_FAILING, "no token yet");
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
    w->script.request_result = 0;
    watch_on_credentials(w->script.watch, NULL);
    expect_list(w, NULL);
}

static void test_waits_for_the_next_token(void **state)
{
    struct world *w = *state;

    w->script.reject_result = WATCH_NO_CREDENTIALS;
    world_subscribe(w);
    for (int i = 0; i < 3; i++) {
        answer(&w->script, 401, STATUS("401", "Unauthorized"));
        expect_state(&w->script, "awaiting-credentials");
        expect_source(w, STORE_SOURCE_FAILING, "waiting for the next token");
        assert_int_equal(w->script.timer_at, SPAN_FOREVER);
        watch_on_credentials(w->script.watch, NULL);
        expect_list(w, NULL);
    }
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_state(&w->script, "awaiting-credentials");
    expect_content(w, STORE_PRESENT, "one");
    watch_on_credentials(w->script.watch, NULL);
    expect_watch(w, "5");
}

/* The token was replaced while the request was under way. */
static void test_new_token_is_there_already(void **state)
{
    struct world *w = *state;

    w->script.reject_result = WATCH_NEW_CREDENTIALS;
    world_subscribe(w);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_source(w, STORE_SOURCE_STARTING, "");
    expect_list(w, NULL);
    assert_int_equal(w->script.n_requests, 2);
}

/* The subscriber unsubscribes when it is notified of the refused token. */
static void test_leaves_at_refused_token(void **state)
{
    struct world *w = *state;

    w->script.reject_result = WATCH_NO_CREDENTIALS;
    world_subscribe(w);
    w->leaves_on_change = true;
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    assert_null(w->reflector);
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
}

static void test_no_news_of_credentials(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_timer(&w->script, SPAN_SEC(30));
    expect_list(w, NULL);
}

/* ---- the past */

/* A list that should not be older than 5, but is. */
static void begin_relist(struct world *w)
{
    begin_watching(w);
    send_body(&w->script, EVENT("ERROR", STATUS("500", "for the sake of a list")));
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, "5");
}

static void test_older_list_is_not_shown(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200, LIST("4", SECRET("2", TWO)));
    expect_content(w, STORE_PRESENT, "one");
    expect_list(w, NULL);
    answer(&w->script, 200, LIST("8", SECRET("7", THREE)));
    expect_content(w, STORE_PRESENT, "three");
    expect_watch(w, "8");
}

static void test_older_item_is_not_shown(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200, LIST("10", SECRET("2", TWO)));
    expect_content(w, STORE_PRESENT, "one");
    expect_list(w, NULL);
}

/* Not by text: 10 is newer than 5. */
static void test_newer_list_is_shown(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200, LIST("10", SECRET("10", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    expect_watch(w, "10");
}

static void test_past_without_numbers(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200, LIST("abc", SECRET("aaa", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    expect_watch(w, "abc");
}

/* etcd was restored from a backup: the consistent list is the truth. */
static void test_consistent_list_is_older(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200, LIST("4", SECRET("2", TWO)));
    answer(&w->script, 200, LIST("4", SECRET("2", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    expect_watch(w, "4");
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_LIVE, "");
}

static void test_bookmark_from_the_past(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, BOOKMARK("4"));
    expect_source(w, STORE_SOURCE_FAILING, "went back from version 5 to 4");
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, NULL);
    answer(&w->script, 200, LIST("4", ""));
    expect_content(w, STORE_ABSENT, "one");
    expect_watch(w, "4");
}

/* G12: the same version of another uid is another object. */
static void test_recreated_object(void **state)
{
    struct world *w = *state;

    begin_relist(w);
    answer(&w->script, 200,
           LIST("5", "{\"metadata\":{\"name\":\"db\",\"namespace\":\"default\",\"uid\":\"u2\","
                     "\"resourceVersion\":\"3\"},\"data\":{\"password\":\"" TWO "\"}}"));
    expect_content(w, STORE_PRESENT, "two");
}

/* ---- objects that cannot be used */

static void test_undecodable_event(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    send_body(&w->script, EVENT("MODIFIED", SECRET("7", "not base64!")));
    expect_content(w, STORE_PRESENT, "one");
    expect_source(w, STORE_SOURCE_FAILING, "password");
    expect_state(&w->script, "watching");
    send_body(&w->script, BOOKMARK("8"));
    expect_source(w, STORE_SOURCE_FAILING, "password");
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "8");
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_FAILING, "password");
    send_body(&w->script, EVENT("MODIFIED", SECRET("9", TWO)));
    expect_content(w, STORE_PRESENT, "two");
    expect_source(w, STORE_SOURCE_LIVE, "");
}

static void test_undecodable_item(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", SECRET("3", "not base64!")));
    expect_content(w, STORE_UNKNOWN, NULL);
    expect_source(w, STORE_SOURCE_FAILING, "password");
    expect_watch(w, "5");
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_FAILING, "password");
    send_body(&w->script, EVENT("DELETED", SECRET("6", "not base64!")));
    expect_content(w, STORE_ABSENT, NULL);
    expect_source(w, STORE_SOURCE_LIVE, "");
}

/* ---- streamed lists (J14) */

#define LIST_END(version) LIST_END_OF("Secret", version)

static void begin_streaming(struct world *w)
{
    w->script.streams_lists = true;
    world_subscribe(w);
    expect_streamed_list(w, NULL);
    respond(&w->script, 200, 0);
    expect_source(w, STORE_SOURCE_STARTING, "");
}

/* One request, in any pieces; nothing is shown before the list is whole. */
static void test_streamed_list(void **state)
{
    static const char before[] = EVENT("ADDED", SECRET("3", ONE)) BOOKMARK("4");
    struct world *w = *state;

    begin_streaming(w);
    for (size_t i = 0; i + 1 < sizeof(before); i++)
        watch_on_body(w->script.watch, before + i, 1);
    expect_content(w, STORE_UNKNOWN, NULL);
    expect_state(&w->script, "syncing");
    send_body(&w->script, LIST_END("5") EVENT("MODIFIED", SECRET("6", TWO)));
    expect_state(&w->script, "watching");
    expect_source(w, STORE_SOURCE_LIVE, "");
    expect_content(w, STORE_PRESENT, "two");
    assert_int_equal(w->script.n_requests, 1);
    assert_int_equal(w->script.timer_at, SPAN_FOREVER);
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "6");
}

static void test_streamed_list_without_the_object(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    send_body(&w->script, EVENT("ADDED", SECRET_OF("default", "other", "2", TWO)) LIST_END("5"));
    expect_content(w, STORE_ABSENT, NULL);
    expect_source(w, STORE_SOURCE_LIVE, "");
    pass(&w->script, SPAN_SEC(300));
    end(&w->script, HTTP_COMPLETE);
    expect_watch(w, "5");
}

static void test_streamed_list_of_an_immutable_object(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    send_body(&w->script, EVENT("ADDED", IMMUTABLE("3", ONE)) LIST_END("5"));
    expect_state(&w->script, "idle");
    expect_content(w, STORE_PRESENT, "one");
    assert_string_equal(w->script.path, "");
}

/* What ends a stream within the list; nothing of it is shown, and the next list is a usual one. */
static void test_broken_streamed_lists(void **state)
{
    static const struct {
        const char *body; /* after an ADDED event */
        enum http_outcome outcome;
        const char *error;
    } cases[] = {
        {"", HTTP_COMPLETE, "ended before it was whole"},
        {BOOKMARK("5"), HTTP_COMPLETE, "ended before it was whole"},
        {"{\"type\":\"BOOK", HTTP_FAILED, "the wire was cut"},
        {"", HTTP_TIMED_OUT, "the wire was cut"},
        {EVENT("MODIFIED", SECRET("4", TWO)), HTTP_COMPLETE, "list cannot be read"},
        {EVENT("ERROR", STATUS("410", "too old")), HTTP_COMPLETE, "410: too old"},
        {"{\"type\":\"ADDED\"}", HTTP_COMPLETE, "cannot be read"},
        {"}", HTTP_COMPLETE, "cannot be read"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        begin_streaming(w);
        send_body(&w->script, EVENT("ADDED", SECRET("3", ONE)));
        send_body(&w->script, cases[i].body);
        if (w->script.path[0] != '\0')
            end(&w->script, cases[i].outcome);
        expect_state(&w->script, "waiting");
        expect_content(w, STORE_UNKNOWN, NULL);
        expect_source(w, STORE_SOURCE_FAILING, cases[i].error);
        expect_timer(&w->script, BACKOFF_FIRST);
        expect_list(w, NULL);
        answer(&w->script, 200, LIST("5", SECRET("3", TWO)));
        expect_content(w, STORE_PRESENT, "two");
        w->subscription = store_unsubscribe(w->subscription);
    }
}

/* A list that works and a watch that does: streams are tried again after the next failure. */
static void test_streams_again_after_a_watch(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    end(&w->script, HTTP_FAILED);
    expect_timer(&w->script, BACKOFF_FIRST);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ERROR", STATUS("410", "too old")));
    expect_content(w, STORE_PRESENT, "one");
    w->script.now = w->script.timer_at;
    watch_on_timer(w->script.watch);
    expect_streamed_list(w, "5");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", SECRET("7", TWO)) LIST_END("8"));
    expect_content(w, STORE_PRESENT, "two");
}

static void test_server_refuses_streams(void **state)
{
    static const int statuses[] = {400, 422};
    struct world *w = *state;

    for (size_t i = 0; i < ELEMENTS_OF(statuses); i++) {
        w->script.streams_lists = true;
        world_subscribe(w);
        answer(&w->script, statuses[i], STATUS("422", "sendInitialEvents is forbidden"));
        expect_list(w, NULL);
        assert_false(w->script.streams_lists);
        expect_source(w, STORE_SOURCE_STARTING, "");
        w->subscription = store_unsubscribe(w->subscription);
    }
}

/* Refusals that say nothing about streams: as of a list. */
static void test_refused_streamed_lists(void **state)
{
    struct world *w = *state;

    w->script.streams_lists = true;
    world_subscribe(w);
    answer(&w->script, 403, STATUS("403", "no"));
    expect_timer(&w->script, SPAN_MS(50));
    expect_streamed_list(w, NULL);
    answer(&w->script, 401, STATUS("401", "Unauthorized"));
    expect_state(&w->script, "awaiting-credentials");
    watch_on_credentials(w->script.watch, NULL);
    expect_streamed_list(w, NULL);
    respond(&w->script, 429, SPAN_SEC(7));
    end(&w->script, HTTP_COMPLETE);
    expect_source(w, STORE_SOURCE_FAILING, "429");
    expect_timer(&w->script, SPAN_SEC(7));
    expect_streamed_list(w, NULL);
    answer(&w->script, 503, STATUS("503", "no"));
    w->script.now = w->script.timer_at;
    watch_on_timer(w->script.watch);
    expect_list(w, NULL);
}

/* A server or proxy that holds the stream back. */
static void test_streamed_list_takes_too_long(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    watch_on_sent(w->script.watch);
    send_body(&w->script, EVENT("ADDED", SECRET("3", ONE)));
    expect_timer(&w->script, SPAN_SEC(30));
    assert_string_equal(w->script.path, "");
    assert_false(w->script.streams_lists);
    expect_source(w, STORE_SOURCE_FAILING, "did not send the whole list in time");
    expect_content(w, STORE_UNKNOWN, NULL);
    expect_timer(&w->script, BACKOFF_FIRST);
    expect_list(w, NULL);
}

/* Older than the cursor: not shown, and a consistent one is requested at once. */
static void test_streamed_list_from_the_past(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->script.streams_lists = true;
    send_body(&w->script, EVENT("ERROR", STATUS("500", "broken")));
    w->script.now = w->script.timer_at;
    watch_on_timer(w->script.watch);
    expect_streamed_list(w, "5");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", SECRET("2", TWO)) LIST_END("4"));
    expect_content(w, STORE_PRESENT, "one");
    expect_streamed_list(w, NULL);
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", SECRET("2", TWO)) LIST_END("4"));
    expect_content(w, STORE_PRESENT, "two");
}

static void test_too_long_streamed_list(void **state)
{
    struct world *w = *state;
    size_t len = (3u << 20) + 1;
    char *padding = malloc(len + 1);

    assert_non_null(padding);
    memset(padding, ' ', len);
    padding[len] = '\0';
    begin_streaming(w);
    for (unsigned i = 0; i < 5; i++) {
        expect_state(&w->script, "syncing");
        send_body(&w->script, "{\"type\":\"ADDED\",");
        send_body(&w->script, padding);
        send_body(&w->script, "\"object\":" SECRET("3", ONE) "}");
    }
    expect_state(&w->script, "syncing");
    send_body(&w->script, "{\"type\":\"ADDED\",");
    send_body(&w->script, padding);
    send_body(&w->script, "\"object\":" SECRET("3", ONE) "}");
    free(padding);
    expect_source(w, STORE_SOURCE_FAILING, "File too large");
    expect_content(w, STORE_UNKNOWN, NULL);
    expect_timer(&w->script, BACKOFF_FIRST);
}

/* Its events prove nothing about the watch that follows. */
static void test_streamed_list_ends_as_soon_as_it_is_whole(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    send_body(&w->script, EVENT("ADDED", SECRET("3", ONE)) LIST_END("5"));
    end(&w->script, HTTP_COMPLETE);
    expect_source(w, STORE_SOURCE_FAILING, "as soon as it began");
    expect_content(w, STORE_PRESENT, "one");
}

/* The server would let it last 300 s. */
static void test_rights_are_checked_in_a_streamed_list(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    reflector_check_rights(w->reflector);
    send_body(&w->script, EVENT("ADDED", SECRET("3", ONE)) LIST_END("5"));
    expect_timer(&w->script, SPAN_SEC(30));
    expect_watch_for(w, "5", 30);
}

static void test_leave_at_streamed_list(void **state)
{
    struct world *w = *state;

    begin_streaming(w);
    w->leaves_on_change = true;
    send_body(&w->script,
              EVENT("ADDED", SECRET("3", ONE)) LIST_END("5") EVENT("MODIFIED", SECRET("6", TWO)));
    assert_null(w->reflector);
}

/* ---- subscribers that unsubscribe within a notification */

static void test_leave_at_list(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    w->leaves_on_change = true;
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    assert_null(w->reflector);
    assert_string_equal(w->script.path, "");
}

static void test_leave_at_event(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->leaves_on_change = true;
    send_body(&w->script,
              EVENT("MODIFIED", SECRET("7", TWO)) EVENT("MODIFIED", SECRET("8", THREE)));
    assert_null(w->reflector);
}

static void test_leave_at_removal(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->leaves_on_change = true;
    send_body(&w->script, EVENT("DELETED", SECRET("7", TWO)));
    assert_null(w->reflector);
}

static void test_leave_when_live(void **state)
{
    struct world *w = *state;

    world_subscribe(w);
    answer(&w->script, 200, LIST("5", SECRET("3", ONE)));
    w->leaves_on_change = true;
    respond(&w->script, 200, 0);
    assert_null(w->reflector);
}

static void test_leave_when_failing(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->leaves_on_change = true;
    send_body(&w->script, EVENT("ERROR", STATUS("500", "etcd is away")));
    assert_null(w->reflector);
}

static void test_leave_when_undecodable(void **state)
{
    struct world *w = *state;

    begin_watching(w);
    w->leaves_on_change = true;
    send_body(&w->script,
              EVENT("MODIFIED", SECRET("7", "not base64!")) EVENT("MODIFIED", SECRET("8", TWO)));
    assert_null(w->reflector);
}

static void test_leave_when_parked(void **state)
{
    struct error e = {.text = "the plug-in failed"};
    struct world *w = *state;

    w->script.request_result = WATCH_NO_CREDENTIALS;
    world_subscribe(w);
    w->leaves_on_change = true;
    watch_on_credentials(w->script.watch, &e);
    assert_null(w->reflector);
}

/* ---- no memory */

static void answer_stream(struct world *w, const char *value)
{
    respond(&w->script, 200, 0);
    send_body(&w->script, streq(value, "one") ? EVENT("ADDED", SECRET("3", ONE)) LIST_END("5")
                                              : EVENT("ADDED", SECRET("7", TWO)) LIST_END("9"));
}

/* Lets things take their course until @value is shown and changes would be. */
static void run_until(struct world *w, const char *value)
{
    for (int i = 0; i < 20; i++) {
        const struct store_view *view = store_peek(w->subscription);

        if (view->source_state == STORE_SOURCE_LIVE && view->object != NULL &&
            view->object->entries[0].len == strlen(value) &&
            memcmp(view->object->entries[0].bytes, value, strlen(value)) == 0)
            return;
        if (streq(watch_state_name(w->script.watch), "syncing"))
            answer_stream(w, value);
        else if (strstr(w->script.path, "watch=true") != NULL)
            respond(&w->script, 200, 0);
        else if (w->script.path[0] != '\0')
            answer(&w->script, 200,
                   streq(value, "one") ? LIST("5", SECRET("3", ONE)) : LIST("9", SECRET("7", TWO)));
        else
            expect_timer(&w->script, w->script.timer_at - w->script.now);
    }
    abort(); /* not through cmocka, which would allocate */
}

static int live_through(void *userdata)
{
    static const struct object_key key = {OBJECT_SECRET, "default", "db", NULL};
    struct world *w = userdata;
    int r = store_subscribe(w->store, &key, world_changed, w, &w->subscription, NULL);

    if (r < 0)
        return r;
    run_until(w, "one");
    send_body(&w->script, EVENT("MODIFIED", SECRET("7", TWO)));
    run_until(w, "two");
    w->subscription = store_unsubscribe(w->subscription);
    w->script.now += 2 * BACKOFF_QUIET_RESET;
    return 0;
}

/* Each allocation fails in turn: in the end the newest content is shown, and nothing leaks. */
static void test_no_memory(void **state)
{
    failmalloc_try(live_through, *state);
}

static void test_no_memory_for_a_streamed_list(void **state)
{
    struct world *w = *state;

    w->script.streams_lists = true;
    failmalloc_try(live_through, w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_list_then_watch),
        TEST(test_immutable_object_is_not_watched),
        TEST(test_object_becomes_immutable),
        TEST(test_configmap_path),
        TEST(test_absent_object),
        TEST(test_null_items),
        TEST(test_events),
        TEST(test_events_are_upserts),
        TEST(test_events_in_pieces),
        TEST(test_bookmarks_move_the_cursor),
        TEST(test_foreign_events),
        TEST(test_foreign_items),
        TEST(test_odd_cursor_is_escaped),
        TEST(test_clean_close),
        TEST(test_truncated_frame),
        TEST(test_broken_connection),
        TEST(test_return_is_spread),
        TEST(test_watch_at_its_limit_is_renewed_at_once),
        TEST(test_short_watches),
        TEST(test_short_watch_with_event),
        TEST(test_silent_server),
        TEST(test_bad_events),
        TEST(test_expired_watch),
        TEST(test_expired_cursor),
        TEST(test_events_after_error),
        TEST(test_too_long_event),
        TEST(test_refused_lists),
        TEST(test_refused_watches),
        TEST(test_consistent_list_refused),
        TEST(test_backoff_grows),
        TEST(test_forbidden_at_first_contact),
        TEST(test_rights_withdrawn),
        TEST(test_rights_are_revoked_after_a_while),
        TEST(test_rights_are_kept_while_a_server_starts),
        TEST(test_rights_are_revoked_at_first_contact),
        TEST(test_rights_are_checked),
        TEST(test_rights_to_an_immutable_object),
        TEST(test_huge_refusal),
        TEST(test_too_long_list),
        TEST(test_request_cannot_be_made),
        TEST(test_waits_for_credentials),
        TEST(test_unauthorized_list),
        TEST(test_unauthorized_watch),
        TEST(test_waits_for_credentials_in_words),
        TEST(test_waits_for_the_next_token),
        TEST(test_new_token_is_there_already),
        TEST(test_leaves_at_refused_token),
        TEST(test_no_news_of_credentials),
        TEST(test_older_list_is_not_shown),
        TEST(test_older_item_is_not_shown),
        TEST(test_newer_list_is_shown),
        TEST(test_past_without_numbers),
        TEST(test_consistent_list_is_older),
        TEST(test_bookmark_from_the_past),
        TEST(test_recreated_object),
        TEST(test_undecodable_event),
        TEST(test_undecodable_item),
        TEST(test_streamed_list),
        TEST(test_streamed_list_without_the_object),
        TEST(test_streamed_list_of_an_immutable_object),
        TEST(test_broken_streamed_lists),
        TEST(test_streams_again_after_a_watch),
        TEST(test_server_refuses_streams),
        TEST(test_refused_streamed_lists),
        TEST(test_streamed_list_takes_too_long),
        TEST(test_streamed_list_from_the_past),
        TEST(test_too_long_streamed_list),
        TEST(test_streamed_list_ends_as_soon_as_it_is_whole),
        TEST(test_rights_are_checked_in_a_streamed_list),
        TEST(test_leave_at_streamed_list),
        TEST(test_leave_at_list),
        TEST(test_leave_at_event),
        TEST(test_leave_at_removal),
        TEST(test_leave_when_live),
        TEST(test_leave_when_failing),
        TEST(test_leave_when_undecodable),
        TEST(test_leave_when_parked),
        TEST(test_no_memory),
        TEST(test_no_memory_for_a_streamed_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
