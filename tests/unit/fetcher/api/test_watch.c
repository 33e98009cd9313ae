/* SPDX-License-Identifier: Apache-2.0 */
/* The common part of watches; test_reflector.c and test_pod_watch.c have what its owners add. */
#include "fetcher/api/watch.h"

#include "base/cleanup.h"
#include "tests/unit/fetcher/api/scripted_watch.h"

#define EVENT_MAX 1024u

enum step { STEP_NONE, STEP_COMPLETE, STEP_EVENT, STEP_INVALID, STEP_LIVE, STEP_FAILURE };

struct owner {
    struct script script;
    struct watch watch;
    enum step stops_at; /* the callback that stops the watch */
    bool is_freed;
    unsigned n_live, n_events, n_invalid, n_ended;
    size_t body_len; /* of the last complete response */
    struct error failure;
};

static struct owner *owner_of(struct watch *watch)
{
    return CONTAINER_OF(watch, struct owner, watch);
}

static void step(struct owner *o, enum step step)
{
    if (o->stops_at != step || o->watch.state == WATCH_STOPPED)
        return;
    watch_stop(&o->watch);
    assert_false(o->is_freed); /* not within its own call */
}

static int on_begin(struct watch *watch, struct buf *path)
{
    return buf_add_text(path, "/things?x=y");
}

static void on_complete(struct watch *watch)
{
    struct owner *o = owner_of(watch);

    o->body_len = watch->body.len;
    step(o, STEP_COMPLETE);
    if (watch->state == WATCH_LISTING && watch->status == 200)
        watch_begin(watch, WATCH_OPENING);
    else if (watch->state != WATCH_STOPPED)
        watch_restart(watch, &(struct error){.text = "refused"});
}

static void on_event(struct watch *watch, const char *type, const cJSON *object,
                     mono_us received_at)
{
    owner_of(watch)->n_events++;
    watch_set_cursor(watch, "7");
    step(owner_of(watch), STEP_EVENT);
}

static void on_invalid_event(struct watch *watch, const struct error *e)
{
    owner_of(watch)->n_invalid++;
    step(owner_of(watch), STEP_INVALID);
}

static void on_end(struct watch *watch)
{
    owner_of(watch)->n_ended++;
}

static void on_live(struct watch *watch)
{
    watch->is_distrusted = false;
    owner_of(watch)->n_live++;
    step(owner_of(watch), STEP_LIVE);
}

static void on_failure(struct watch *watch, const struct error *e)
{
    owner_of(watch)->failure = *e;
    step(owner_of(watch), STEP_FAILURE);
}

static void free_owner(struct watch *watch)
{
    assert_false(owner_of(watch)->is_freed);
    owner_of(watch)->is_freed = true;
}

static const char *name(const struct watch *watch, char buf[static WATCH_NAME_SIZE])
{
    return "things";
}

#define OPS                                                                                        \
    .resources = " of things", .begin = on_begin, .on_complete = on_complete,                      \
    .on_event = on_event, .on_invalid_event = on_invalid_event, .on_end = on_end,                  \
    .on_live = on_live, .on_failure = on_failure, .free = free_owner, .name = name
static const struct watch_ops with_lists = {OPS, .has_lists = true};
static const struct watch_ops without_lists = {OPS};

static void owner_init(struct owner *o, const struct watch_ops *ops)
{
    static const struct watch_io io = SCRIPT_IO;

    *o = (struct owner){.stops_at = STEP_NONE};
    script_init(&o->script);
    watch_init(&o->watch, ops, EVENT_MAX, &io, &o->script);
    o->script.watch = &o->watch;
    expect_state(&o->script, "new");
}

static void owner_deinit(struct owner *o)
{
    if (o->watch.state != WATCH_STOPPED)
        watch_stop(&o->watch);
    assert_true(o->is_freed);
    script_expect_freed(&o->script);
}

static void test_begins_with_a_list_if_it_has_lists(void **state)
{
    struct owner o;

    owner_init(&o, &with_lists);
    watch_start(&o.watch);
    expect_state(&o.script, "listing");
    assert_string_equal(o.script.path, "/things?x=y");
    answer(&o.script, 200, "{}");
    assert_int_equal(o.body_len, 2);
    expect_state(&o.script, "opening");
    owner_deinit(&o);

    owner_init(&o, &without_lists);
    watch_start(&o.watch);
    expect_state(&o.script, "opening");
    assert_string_equal(o.script.path,
                        "/things?x=y&watch=true&allowWatchBookmarks=true&timeoutSeconds=300");
    owner_deinit(&o);
}

/* Events go on at the cursor after a good end, and without it after a failure. */
static void test_cursor_is_dropped_by_a_restart_without_lists(void **state)
{
    struct owner o;

    owner_init(&o, &without_lists);
    watch_start(&o.watch);
    respond(&o.script, 200, 0);
    send_body(&o.script, EVENT("ADDED", "{}"));
    end(&o.script, HTTP_COMPLETE);
    assert_int_equal(o.n_ended, 1);
    assert_non_null(strstr(o.script.path, "&resourceVersion=7"));
    end(&o.script, HTTP_FAILED);
    assert_int_equal(o.n_ended, 1);
    expect_state(&o.script, "waiting");
    expect_timer(&o.script, BACKOFF_FIRST);
    assert_null(strstr(o.script.path, "&resourceVersion="));
    owner_deinit(&o);
}

static void test_long_refusal_is_cut_and_long_list_fails(void **state)
{
    char long_text[EVENT_MAX + 2];
    struct owner o;

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    owner_init(&o, &with_lists);
    watch_start(&o.watch);
    answer(&o.script, 500, long_text);
    assert_string_equal(o.failure.text, "refused");
    expect_timer(&o.script, BACKOFF_FIRST);
    answer(&o.script, 200, long_text);
    assert_non_null(strstr(o.failure.text, "list cannot be read"));
    expect_state(&o.script, "waiting");
    owner_deinit(&o);
}

/* A shorter duration counts for the watch that is open, too. */
static void test_duration_is_shortened_while_watching(void **state)
{
    struct owner o;

    owner_init(&o, &without_lists);
    watch_start(&o.watch);
    respond(&o.script, 200, 0);
    watch_set_duration(&o.watch, 30, 0);
    expect_timer(&o.script, SPAN_SEC(30));
    expect_state(&o.script, "opening");
    assert_non_null(strstr(o.script.path, "timeoutSeconds=30"));
    owner_deinit(&o);
}

static void play(struct owner *o)
{
    watch_start(&o->watch);
    if (!o->is_freed)
        answer(&o->script, 200, "{}");
    if (!o->is_freed)
        respond(&o->script, 200, 0);
    if (!o->is_freed)
        send_body(&o->script, EVENT("ADDED", "{}") "{}" EVENT("ADDED", "{}"));
    if (!o->is_freed)
        end(&o->script, HTTP_FAILED);
    if (!o->is_freed)
        watch_on_timer(&o->watch);
    if (!o->is_freed)
        end(&o->script, HTTP_FAILED);
}

/* It is freed when the call has returned, and no callback comes after it was stopped. */
static void test_stopped_within_a_callback(void **state)
{
    static const struct {
        enum step step;
        unsigned n_events;
        unsigned n_invalid;
    } steps[] = {
        {STEP_COMPLETE, 0, 0}, {STEP_LIVE, 0, 0},    {STEP_EVENT, 1, 0},
        {STEP_INVALID, 1, 1},  {STEP_FAILURE, 2, 1},
    };

    for (size_t i = 0; i < ELEMENTS_OF(steps); i++) {
        struct owner o;

        owner_init(&o, &with_lists);
        o.stops_at = steps[i].step;
        play(&o);
        assert_true(o.is_freed);
        assert_int_equal(o.n_events, steps[i].n_events);
        assert_int_equal(o.n_invalid, steps[i].n_invalid);
        owner_deinit(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_with_a_list_if_it_has_lists),
        cmocka_unit_test(test_cursor_is_dropped_by_a_restart_without_lists),
        cmocka_unit_test(test_long_refusal_is_cut_and_long_list_fails),
        cmocka_unit_test(test_duration_is_shortened_while_watching),
        cmocka_unit_test(test_stopped_within_a_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
