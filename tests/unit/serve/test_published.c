/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a published volume. The test is the source of the objects, and the publisher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "serve/published.h"

#include "tests/unit/failmalloc.h"

struct fixture {
    sd_event *event;
    struct store *store;
    struct volume_spec *spec;
    struct published published;
    int place_result;
    int ready_result;
    char calls[256]; /* of the owner and of the observer */
};

/* ---- the publisher */

static const struct publisher_callbacks *publisher_callbacks;
static void *publisher_userdata;
static unsigned n_submitted;
static struct payload *submitted; /* the newest; a reference */

int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks, void *userdata,
                         struct publisher_volume **ret_volume)
{
    publisher_callbacks = callbacks;
    publisher_userdata = userdata;
    *ret_volume = (void *)&n_submitted; /* opaque, and not NULL */
    return 0;
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    submitted = payload_unref(submitted);
    return NULL;
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    payload_unref(submitted);
    submitted = payload_ref(payload);
    n_submitted++;
}

static mono_us blocked_since;

mono_us publisher_blocked_since(struct publisher_volume *volume)
{
    return blocked_since;
}

/* The publisher's result for the newest payload. */
static void finish(int error)
{
    const struct publisher_result result = {.payload = submitted,
                                            .error = error,
                                            .is_visible = error == 0,
                                            .received_at = 10,
                                            .visible_at = 15,
                                            .generation = "..g"};

    publisher_callbacks->done(publisher_userdata, &result);
}

/* ---- the source */

static int watch(void *userdata, const struct object_key *key, struct error *e)
{
    return 0;
}

static void unwatch(void *userdata, const struct object_key *key)
{
}

static void put(struct fixture *f, const char *value)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "prod", .name = "db"},
                                .uid = "u",
                                .resource_version = "1"};
    const struct object_input input = {.key = "k", .text = value, .len = strlen(value)};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    store_put(f->store, object, clock_mono());
}

/* ---- the owner and the observer */

static void record(struct fixture *f, const char *call)
{
    size_t len = strlen(f->calls);

    assert_true(len + strlen(call) + 2 < sizeof(f->calls));
    snprintf(f->calls + len, sizeof(f->calls) - len, "%s ", call);
}

static int on_place(void *userdata, struct publisher_place *ret_place, struct error *e)
{
    struct fixture *f = userdata;

    record(f, "place");
    *ret_place = (struct publisher_place){.name = "v"};
    return f->place_result < 0 ? error_set(e, f->place_result, "no place") : f->place_result;
}

static int on_ready(void *userdata, struct error *e)
{
    struct fixture *f = userdata;

    record(f, "ready");
    return f->ready_result < 0 ? error_set(e, f->ready_result, "not ready") : 0;
}

static void on_failed(void *userdata, int error, const struct error *e)
{
    record(userdata, "failed");
}

static void on_changed(void *userdata)
{
    record(userdata, "changed");
}

static void observe_changed(void *userdata, struct published *p)
{
    record(userdata, "observed");
}

static void observe_updated(void *userdata, struct published *p)
{
    assert_int_equal(p->update_latency_us, 5);
    record(userdata, "updated");
}

/* Compare the calls since the last comparison. */
static void expect(struct fixture *f, const char *calls)
{
    assert_string_equal(f->calls, calls);
    f->calls[0] = '\0';
}

/* ---- the fixture */

static struct published_observer observer = {.changed = observe_changed,
                                             .updated = observe_updated};

static int init(struct fixture *f)
{
    static const struct published_callbacks callbacks = {
        .place = on_place, .ready = on_ready, .failed = on_failed, .changed = on_changed};
    const struct published_options options = {.store = f->store,
                                              .spec = f->spec,
                                              .namespace = "prod",
                                              .pod = "web-0",
                                              .observer = &observer};

    observer.userdata = f;
    return published_init(&f->published, f->event, &options, &callbacks, f, NULL);
}

static int setup(void **state)
{
    static const struct store_source source = {.watch = watch, .unwatch = unwatch};
    struct fixture *f = calloc(1, sizeof(*f));
    struct volume_source *member;

    assert_non_null(f);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    n_submitted = 0;
    assert_true(sd_event_new(&f->event) >= 0);
    assert_int_equal(store_new(&f->store), 0);
    store_set_source(f->store, &source, f);
    assert_int_equal(volume_spec_new(VOLUME_SECRET, &f->spec), 0);
    assert_int_equal(volume_spec_add_source(f->spec, OBJECT_SECRET, "db", &member), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    published_deinit(&f->published);
    volume_spec_free(f->spec);
    store_free(f->store);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    assert_int_equal(init(f), 0);
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PAYLOAD);
    expect(f, "observed changed ");
}

static void start_ready(struct fixture *f)
{
    start(f);
    put(f, "1");
    finish(0);
    assert_int_equal(f->published.state, PUBLISHED_READY);
    f->calls[0] = '\0';
}

/* ---- tests */

static void test_first_payload_makes_it_ready(void **state)
{
    struct fixture *f = *state;

    start(f);
    put(f, "1");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PUBLISH);
    assert_int_equal(n_submitted, 1);
    expect(f, "place observed changed ");
    finish(0);
    assert_int_equal(f->published.state, PUBLISHED_READY);
    expect(f, "ready ");
    /* the first publish is no update */
    put(f, "2");
    assert_int_equal(n_submitted, 2);
    f->calls[0] = '\0';
    finish(0);
    expect(f, "updated ");
    assert_int_equal(f->published.n_published, 2);
}

static void test_place_that_is_not_known_yet(void **state)
{
    struct fixture *f = *state;

    f->place_result = PUBLISHED_LATER;
    start(f);
    put(f, "1");
    put(f, "2");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PLACE);
    assert_int_equal(n_submitted, 0);
    f->place_result = 0;
    f->calls[0] = '\0';
    published_retry(&f->published);
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PUBLISH);
    assert_int_equal(n_submitted, 1);
    expect(f, "place ");
    assert_ptr_equal(submitted, f->published.payload);
}

static void test_failed_place_is_asked_again_by_retry_only(void **state)
{
    struct fixture *f = *state;

    f->place_result = -ENOSPC;
    start(f);
    put(f, "1");
    expect(f, "place failed observed changed ");
    put(f, "2");
    expect(f, "observed changed ");
    published_retry(&f->published);
    expect(f, "place failed ");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PLACE);
}

static void test_retry_without_payload_does_nothing(void **state)
{
    struct fixture *f = *state;

    start(f);
    published_retry(&f->published);
    expect(f, "");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PAYLOAD);
}

static void test_first_publish_that_fails_is_the_owners(void **state)
{
    struct fixture *f = *state;

    start(f);
    put(f, "1");
    f->calls[0] = '\0';
    finish(-ENOSPC);
    expect(f, "failed ");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_PUBLISH);
    assert_null(f->published.retry_timer);
    /* so is a failure of ready(); the next payload tries again */
    f->ready_result = -EIO;
    published_retry(&f->published);
    finish(0);
    expect(f, "ready failed ");
    f->ready_result = 0;
    put(f, "2");
    finish(0);
    assert_int_equal(f->published.state, PUBLISHED_READY);
}

static void test_later_failure_is_retried(void **state)
{
    struct fixture *f = *state;
    unsigned before;

    start_ready(f);
    put(f, "2");
    f->calls[0] = '\0';
    finish(-ENOSPC);
    expect(f, "observed changed ");
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_RETRY);
    assert_true(published_is_failing(&f->published));
    assert_non_null(f->published.retry_timer);
    /* the timer submits the same payload */
    before = n_submitted;
    assert_true(sd_event_source_set_time(f->published.retry_timer, 0) >= 0);
    assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    assert_int_equal(n_submitted, before + 1);
    finish(-ENOSPC);
    assert_int_equal(f->published.state, PUBLISHED_AWAITING_RETRY);
    f->calls[0] = '\0';
    finish(0);
    /* the end of the failure as well: the observer reports the next one again */
    expect(f, "updated observed changed ");
    assert_int_equal(f->published.state, PUBLISHED_READY);
    assert_null(f->published.retry_timer);
}

static void test_next_payload_takes_the_place_of_the_retry(void **state)
{
    struct fixture *f = *state;

    start_ready(f);
    put(f, "2");
    finish(-ENOSPC);
    put(f, "3");
    assert_null(f->published.retry_timer);
    assert_true(published_is_failing(&f->published));
    finish(0);
    assert_false(published_is_failing(&f->published));
}

static void assert_reader(const struct fixture *f, enum reader_state state, const char *error)
{
    struct error e;

    assert_int_equal(published_reader_state(&f->published), state);
    assert_string_equal(published_reader_error(&f->published, &e), error);
}

static void test_payload_that_does_not_appear_is_no_current_one(void **state)
{
    struct fixture *f = *state;

    start_ready(f);
    assert_reader(f, READER_CURRENT, "");
    put(f, "2");
    assert_reader(f, READER_CURRENT, ""); /* for an instant */
    blocked_since = clock_mono();
    publisher_callbacks->changed(publisher_userdata);
    assert_reader(f, READER_FAILING,
                  "publishing has not returned for 0 s: a process holds the volume's directory");
    blocked_since = 0;
    publisher_callbacks->changed(publisher_userdata);
    f->published.pending_since -= SPAN_SEC(3);
    assert_reader(f, READER_FAILING, "publishing has not returned for 3 s");
    put(f, "3"); /* readers have waited for the one before since then */
    assert_reader(f, READER_FAILING, "publishing has not returned for 3 s");
    finish(0);
    assert_reader(f, READER_CURRENT, "");
    /* what a thread does for a volume that is shown, such as removing an old generation */
    blocked_since = clock_mono();
    publisher_callbacks->changed(publisher_userdata);
    assert_reader(f, READER_CURRENT, "");
    blocked_since = 0;
}

static void test_text_names_the_object(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_string_equal(PUBLISHED_TEXT(&f->published), "secret/prod/db");
}

static int init_and_deinit(void *userdata)
{
    struct fixture *f = userdata;
    int r = init(f);

    published_deinit(&f->published);
    f->calls[0] = '\0';
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(init_and_deinit, *state);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_payload_makes_it_ready),
        TEST(test_place_that_is_not_known_yet),
        TEST(test_failed_place_is_asked_again_by_retry_only),
        TEST(test_retry_without_payload_does_nothing),
        TEST(test_first_publish_that_fails_is_the_owners),
        TEST(test_later_failure_is_retried),
        TEST(test_next_payload_takes_the_place_of_the_retry),
        TEST(test_payload_that_does_not_appear_is_no_current_one),
        TEST(test_text_names_the_object),
        TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
