/* SPDX-License-Identifier: Apache-2.0 */
/* Which events are posted on a volume. The test replaces pod_events.c, which limits them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "fuse/publisher_state.h"
#include "node/volume_events.h"

struct fixture {
    struct store *store;
    struct volume_spec *spec;
    struct source source;
    struct identity identity;
    struct node_volume volume;
    struct node_volume_events *events;
    sd_event *event;
    bool certificates[1];
};

/* ---- pod events */

static char posted[512]; /* "VolumeHeld!prod/web-0: MESSAGE; ", "!" for a warning */
static bool is_limited;  /* then none is posted */
static const struct pod_events_options *pod_options;
static uint64_t last_owner;
static unsigned last_tag;
static const struct source *forgotten;

int pod_events_new(const struct pod_events_options *options, struct pod_events **ret_events)
{
    static struct pod_events_options copy;

    copy = *options;
    pod_options = &copy;
    *ret_events = (void *)posted; /* opaque */
    return 0;
}

struct pod_events *pod_events_free(struct pod_events *events)
{
    return NULL;
}

int pod_events_post(struct pod_events *events, struct source *source, const struct pod_event *event,
                    mono_us now)
{
    size_t len = strlen(posted);

    if (is_limited)
        return -EAGAIN;
    last_owner = event->owner;
    last_tag = event->tag;
    snprintf(posted + len, sizeof(posted) - len, "%s%s%s/%s: %s\n", event->reason,
             event->is_warning ? "!" : " ", event->namespace, event->pod, event->message);
    return 0;
}

void pod_events_forget(struct pod_events *events, const struct source *source)
{
    forgotten = source;
}

const char *pod_event_result_name(enum pod_event_result result)
{
    return result == POD_EVENT_DEFERRED ? "deferred" : "";
}

static size_t n_deferred;

void node_metrics_count_event(struct node_metrics *metrics, const char *result)
{
    n_deferred += strcmp(result, "deferred") == 0;
}

/* The answer of the API server to the last event. */
static void answer(enum pod_event_result result)
{
    const struct pod_event_outcome outcome = {result, last_owner, last_tag};

    pod_options->done(pod_options->userdata, &outcome);
}

/* ---- the volumes of the node */

static struct node_volume *only_volume;

void node_volumes_visit(struct node_volumes *volumes, node_volume_visit_fn *visit, void *userdata)
{
    visit(userdata, only_volume);
}

static void expect(const char *events)
{
    assert_string_equal(posted, events);
    posted[0] = '\0';
}

/* ---- the source and the volume */

static int watch(void *userdata, const struct object_key *key, struct error *e)
{
    return 0;
}

static void unwatch(void *userdata, const struct object_key *key)
{
}

static void count(const struct source *source, struct source_counts *ret_counts)
{
}

static const struct object_key key = {.kind = OBJECT_SECRET, .namespace = "prod", .name = "db"};

static void put_staged(struct fixture *f, const char *value, struct object_staging staging)
{
    const struct object like = {
        .key = key, .uid = "u", .resource_version = "1", .staging = staging};
    const struct object_input input = {.key = "k", .text = value, .len = strlen(value)};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    store_put(f->store, object, clock_mono());
}

static void put(struct fixture *f)
{
    put_staged(f, "v", (struct object_staging){.is_paused = false});
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
}

static struct payload *checked; /* borrowed from the volume */

static int on_check(void *userdata, struct payload *payload, struct error *e)
{
    checked = payload;
    return 0;
}

static void on_state(void *userdata)
{
}

static int setup(void **state)
{
    static const struct source_ops api = {.store = {.watch = watch, .unwatch = unwatch},
                                          .count = count};
    static const struct volume_callbacks callbacks = {
        .payload = on_payload, .check = on_check, .state = on_state};
    static char namespace[] = "prod", pod[] = "web-0";
    const struct node_volume_events_options options = {
        .driver_name = "d", .node_id = "n", .check_after = SPAN_MS(1)};
    struct volume_options volume = {.namespace = "prod", .who = "who"};
    struct fixture *f = calloc(1, sizeof(*f));
    struct volume_source *member;
    struct published *p;

    assert_non_null(f);
    posted[0] = '\0';
    is_limited = false;
    n_deferred = 0;
    only_volume = &f->volume;
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(node_volume_events_new(f->event, &options, &f->events), 0);
    assert_int_equal(store_new(&f->store), 0);
    store_set_source(f->store, &api.store, f);
    assert_int_equal(volume_spec_new(VOLUME_SECRET, &f->spec), 0);
    assert_int_equal(volume_spec_add_source(f->spec, OBJECT_SECRET, "db", &member), 0);
    f->source.ops = &api;
    f->identity.source = &f->source;
    f->volume = (struct node_volume){.number = 7,
                                     .namespace = namespace,
                                     .pod = pod,
                                     .spec = f->spec,
                                     .identity = &f->identity,
                                     .was_mounted = true};
    p = &f->volume.published;
    p->options = (struct published_options){
        .store = f->store, .spec = f->spec, .namespace = namespace, .pod = pod};
    p->state = PUBLISHED_READY;
    p->logged_certificates = f->certificates;
    volume.spec = f->spec;
    volume.store = f->store;
    assert_int_equal(volume_new(&volume, &callbacks, f, &f->volume.published.volume, NULL), 0);
    put(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    node_volume_events_free(f->events);
    sd_event_unref(f->event);
    kept_error_clear(&f->volume.published.publish_error);
    volume_free(f->volume.published.volume);
    volume_spec_free(f->spec);
    store_free(f->store);
    free(f);
    return 0;
}

/* ---- tests */

static void test_stale_volume_is_held_and_current_again(void **state)
{
    struct fixture *f = *state;

    node_volume_events_check(f->events, &f->volume);
    expect("");
    store_remove(f->store, &key, clock_mono());
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeHeld!prod/web-0: secret/prod/db: secret \"db\" not found in namespace "
           "\"prod\"; the last content stays readable\n");
    node_volume_events_check(f->events, &f->volume);
    expect("");
    put(f);
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
}

static void test_failed_update(void **state)
{
    struct fixture *f = *state;

    f->volume.published.state = PUBLISHED_AWAITING_RETRY;
    kept_error_set(&f->volume.published.publish_error,
                   "cannot publish secret/prod/db: No space left on device");
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeUpdateFailed!prod/web-0: secret/prod/db: update failed, retrying: cannot publish "
           "secret/prod/db: No space left on device; the last content stays readable\n");
    f->volume.published.state = PUBLISHED_READY;
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
}

/* The end of the first of two conditions is no event. */
static void test_current_after_the_last_condition(void **state)
{
    struct fixture *f = *state;

    f->volume.published.state = PUBLISHED_AWAITING_RETRY;
    f->certificates[0] = true;
    node_volume_events_check(f->events, &f->volume);
    assert_non_null(strstr(posted, "VolumeUpdateFailed!"));
    assert_non_null(strstr(posted, "CertificateProblem!"));
    posted[0] = '\0';
    f->volume.published.state = PUBLISHED_READY;
    node_volume_events_check(f->events, &f->volume);
    expect("");
    f->certificates[0] = false;
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
}

/* It concerns the readers and not the volume, which is up to date. */
static void test_dropped_content(void **state)
{
    struct fixture *f = *state;

    f->volume.published.has_dropped = true;
    node_volume_events_check(f->events, &f->volume);
    expect("OlderContentDropped!prod/web-0: secret/prod/db: readers keep too much older content "
           "open and lost the oldest of it (ESTALE)\n");
    f->volume.published.has_dropped = false;
    node_volume_events_check(f->events, &f->volume);
    expect("");
}

/* It concerns the readers as well, and the next update that is signalled ends it. */
static void test_update_that_is_not_signalled(void **state)
{
    struct fixture *f = *state;

    kept_error_set(&f->volume.notice.error, "no running container has the volume mounted");
    node_volume_events_check(f->events, &f->volume);
    expect("UpdateNotSignalled!prod/web-0: secret/prod/db: the update is visible, but was not "
           "signalled: no running container has the volume mounted\n");
    node_volume_events_check(f->events, &f->volume);
    expect("");
    kept_error_clear(&f->volume.notice.error);
    node_volume_events_check(f->events, &f->volume);
    expect("");
    kept_error_set(&f->volume.notice.error, "cannot signal process 42: Operation not permitted");
    node_volume_events_check(f->events, &f->volume);
    assert_non_null(strstr(posted, "cannot signal process 42"));
    kept_error_clear(&f->volume.notice.error);
}

/* What the object's author asked for is no event, unless it cannot be read. */
static void test_staged_update(void **state)
{
    struct fixture *f = *state;

    put_staged(f, "w", (struct object_staging){.is_paused = true});
    node_volume_events_check(f->events, &f->volume);
    expect("");
    put_staged(f, "w", (struct object_staging){.invalid = "secretfs.io/pause"});
    node_volume_events_check(f->events, &f->volume);
    assert_non_null(strstr(posted, "VolumeHeld!prod/web-0: secret/prod/db: secret/prod/db is held "
                                   "back: its annotation secretfs.io/pause is invalid"));
}

/* A check that runs is no event, neither of the update nor of the end of the last one. */
static void test_update_that_is_checked(void **state)
{
    struct fixture *f = *state;
    const struct object_staging at_once = {.is_paused = false};

    assert_int_equal(volume_text_set(&f->spec->check_command, "c"), 0);
    put_staged(f, "w", at_once);
    node_volume_events_check(f->events, &f->volume);
    expect("");
    volume_checked(f->volume.published.volume, checked, VOLUME_REFUSED, "ended with exit status 1",
                   1);
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeHeld!prod/web-0: secret/prod/db: the files are held back: command:c ended with "
           "exit status 1; the last content stays readable\n");
    put_staged(f, "x", at_once);
    node_volume_events_check(f->events, &f->volume);
    expect("");
    volume_checked(f->volume.published.volume, checked, VOLUME_ACCEPTED, NULL, 2);
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
}

static void test_no_events(void **state)
{
    static const struct source_ops manifests = {.store = {.watch = watch, .unwatch = unwatch}};
    struct fixture *f = *state;
    const struct source_ops *api = f->source.ops;
    char *pod = f->volume.pod;

    store_remove(f->store, &key, clock_mono());
    f->volume.was_mounted = false;
    node_volume_events_check(f->events, &f->volume);
    f->volume.was_mounted = true;
    f->volume.pod = NULL;
    node_volume_events_check(f->events, &f->volume);
    f->volume.pod = pod;
    f->source.ops = &manifests;
    node_volume_events_check(f->events, &f->volume);
    expect("");
    assert_int_equal(f->volume.reported_events, 0);
    f->source.ops = api;
    node_volume_events_check(f->events, &f->volume);
    assert_string_not_equal(posted, "");
    node_volume_events_forget(f->events, &f->source);
    assert_ptr_equal(forgotten, &f->source);
}

/* Whether the volumes were checked again; not before a check is due. */
static bool is_checked_later(const struct fixture *f)
{
    return sd_event_run(f->event, SPAN_SEC(1)) > 0;
}

static bool is_check_due(const struct fixture *f)
{
    return sd_event_run(f->event, SPAN_MS(20)) > 0;
}

static void test_deferred_event_is_posted_later(void **state)
{
    struct fixture *f = *state;

    is_limited = true;
    store_remove(f->store, &key, clock_mono());
    node_volume_events_check(f->events, &f->volume);
    expect("");
    assert_true(is_checked_later(f));
    expect("");
    assert_int_equal(n_deferred, 1);
    is_limited = false;
    assert_true(is_checked_later(f));
    expect("VolumeHeld!prod/web-0: secret/prod/db: secret \"db\" not found in namespace "
           "\"prod\"; the last content stays readable\n");
    assert_false(is_check_due(f));
    is_limited = true;
    put(f);
    node_volume_events_check(f->events, &f->volume);
    expect("");
    is_limited = false;
    assert_true(is_checked_later(f));
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
    assert_false(is_check_due(f));
}

static void test_deferred_event_that_is_over_is_not_posted(void **state)
{
    struct fixture *f = *state;

    is_limited = true;
    store_remove(f->store, &key, clock_mono());
    node_volume_events_check(f->events, &f->volume);
    put(f);
    is_limited = false;
    assert_true(is_checked_later(f));
    expect("");
    assert_false(is_check_due(f));
    assert_int_equal(f->volume.reported_events | f->volume.deferred_events, 0);
}

static void test_event_that_the_server_did_not_take_is_posted_again(void **state)
{
    struct fixture *f = *state;

    store_remove(f->store, &key, clock_mono());
    node_volume_events_check(f->events, &f->volume);
    assert_non_null(strstr(posted, "VolumeHeld!"));
    posted[0] = '\0';
    answer(POD_EVENT_FAILED);
    assert_true(is_checked_later(f));
    assert_non_null(strstr(posted, "VolumeHeld!"));
    posted[0] = '\0';
    answer(POD_EVENT_POSTED);
    put(f);
    node_volume_events_check(f->events, &f->volume);
    assert_non_null(strstr(posted, "VolumeCurrent "));
    posted[0] = '\0';
    answer(POD_EVENT_FAILED);
    assert_true(is_checked_later(f));
    assert_non_null(strstr(posted, "VolumeCurrent "));
    answer(POD_EVENT_POSTED);
    assert_false(is_check_due(f));
    last_owner = 8; /* a volume that was removed */
    answer(POD_EVENT_FAILED);
    assert_false(is_check_due(f));
}

/* Neither failed nor blocked. */
static void test_late_update(void **state)
{
    static struct publisher publisher = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct publisher_volume directory = {.publisher = &publisher};
    struct fixture *f = *state;
    struct published *p = &f->volume.published;

    p->publisher = &directory;
    p->pending_since = clock_mono();
    node_volume_events_check_later(f->events);
    assert_true(is_checked_later(f));
    expect("");
    p->pending_since -= SPAN_SEC(3);
    assert_true(is_checked_later(f));
    expect("VolumeUpdateFailed!prod/web-0: secret/prod/db: update does not end: publishing has "
           "not returned; the node is overloaded; the last content stays readable\n");
    p->pending_since = 0;
    assert_true(is_checked_later(f));
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
    assert_false(is_check_due(f));
}

/* What ends silently does not hide the end of what does not. */
static void test_end_beside_a_silent_condition(void **state)
{
    struct fixture *f = *state;

    f->volume.published.has_dropped = true;
    f->certificates[0] = true;
    node_volume_events_check(f->events, &f->volume);
    posted[0] = '\0';
    f->certificates[0] = false;
    node_volume_events_check(f->events, &f->volume);
    expect("VolumeCurrent prod/web-0: secret/prod/db: it is up to date again\n");
    node_volume_events_check(f->events, &f->volume);
    expect("");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stale_volume_is_held_and_current_again),
        TEST(test_failed_update),
        TEST(test_dropped_content),
        TEST(test_update_that_is_not_signalled),
        TEST(test_current_after_the_last_condition),
        TEST(test_deferred_event_is_posted_later),
        TEST(test_deferred_event_that_is_over_is_not_posted),
        TEST(test_event_that_the_server_did_not_take_is_posted_again),
        TEST(test_late_update),
        TEST(test_end_beside_a_silent_condition),
        TEST(test_staged_update),
        TEST(test_update_that_is_checked),
        TEST(test_no_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
