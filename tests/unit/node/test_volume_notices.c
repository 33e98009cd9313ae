/* SPDX-License-Identifier: Apache-2.0 */
/* Which orders volumes give to the signaller, and what their results change. The test replaces it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "node/signaller.h"
#include "node/volume_notices.h"

#define NUMBER 7

static struct {
    sd_event *event;
    struct node_volume_notices *notices;
    struct volume_spec *spec;
    struct node_volume volume;
    unsigned n_events_checked;
    unsigned n_counted[POD_SIGNAL_OUTCOMES];

    signaller_done_fn *done;
    void *userdata;
    bool has_no_thread;
    struct pod_signal signal; /* the last */
    unsigned n_orders;
    uint64_t shown, notified; /* updates */
} world;

/* ---- the signaller */

int signaller_new(sd_event *event, signaller_done_fn *done, void *userdata,
                  struct signaller **ret_signaller)
{
    world.done = done;
    world.userdata = userdata;
    *ret_signaller = (void *)&world; /* opaque */
    return 0;
}

struct signaller *signaller_free(struct signaller *signaller)
{
    return NULL;
}

int signaller_send(struct signaller *signaller, uint64_t owner, const struct pod_signal *signal,
                   struct error *e)
{
    assert_int_equal(owner, NUMBER);
    if (world.has_no_thread)
        return error_set_errno(e, -EAGAIN, "cannot start a thread that sends signals");
    world.signal = *signal;
    world.n_orders++;
    return 0;
}

static void finish(unsigned n_sent, unsigned n_failed, const char *reason)
{
    struct pod_signal_result result = {.n_sent = n_sent, .n_failed = n_failed};

    snprintf(result.e.text, sizeof(result.e.text), "%s", reason);
    world.done(world.userdata, NUMBER, &world.signal, &result);
}

/* ---- other parts of the node */

bool node_volume_has_consumers(const struct node_volume *volume)
{
    return volume->spec->update_signal != 0 && volume->pod_uid != NULL;
}

uint64_t node_volume_shown_update(const struct node_volume *volume)
{
    return world.shown;
}

void node_volume_note_notified(struct node_volume *volume, uint64_t update)
{
    world.notified = update;
}

void node_volumes_visit(struct node_volumes *volumes, node_volume_visit_fn *visit, void *userdata)
{
    visit(userdata, &world.volume);
}

dev_t node_file_systems_device(const struct node_file_systems *all, enum node_fs fs)
{
    return makedev(0, fs == NODE_FS_LIVE ? 56 : 55);
}

void node_volume_events_check(struct node_volume_events *events, struct node_volume *volume)
{
    assert_ptr_equal(volume, &world.volume);
    world.n_events_checked++;
}

void node_metrics_count_signals(struct node_metrics *metrics, enum pod_signal_outcome outcome,
                                unsigned n)
{
    world.n_counted[outcome] += n;
}

/* ---- */

static int set_up(void **state)
{
    const struct node_volume_notices_options options = {.volumes = NULL};
    static char id[] = "csi-1", namespace[] = "prod", pod[] = "web-0", uid[] = "u-1";
    struct node_volume *v = &world.volume;

    memset(&world, 0, sizeof(world));
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(node_volume_notices_new(world.event, &options, &world.notices), 0);
    assert_int_equal(volume_spec_new(VOLUME_PROJECTED, &world.spec), 0);
    assert_int_equal(volume_text_set(&world.spec->name, "creds"), 0);
    world.spec->update_signal = SIGHUP;
    *v = (struct node_volume){.number = NUMBER,
                              .id = id,
                              .namespace = namespace,
                              .pod = pod,
                              .pod_uid = uid,
                              .spec = world.spec,
                              .notice = {.published = &v->published},
                              .fs = NODE_FS_STANDARD,
                              .state = NODE_VOLUME_MOUNTED};
    v->published.options =
        (struct published_options){.spec = world.spec, .namespace = namespace, .pod = pod};
    return 0;
}

static int tear_down(void **state)
{
    node_volume_notices_free(world.notices);
    volume_spec_free(world.spec);
    update_notice_deinit(&world.volume.notice);
    sd_event_unref(world.event);
    return 0;
}

static void update(void)
{
    world.shown++;
    node_volume_notices_updated(world.notices, &world.volume);
}

static void test_what_is_ordered(void **state)
{
    update();
    assert_int_equal(world.n_orders, 1);
    assert_string_equal(world.signal.pod_uid, "u-1");
    assert_string_equal(world.signal.directory, "csi-1");
    assert_int_equal(world.signal.device, makedev(0, 55));
    assert_int_equal(world.signal.signal, SIGHUP);
    assert_string_equal(world.signal.container, "");
    assert_string_equal(world.signal.process, "");
    finish(2, 0, "");
    assert_int_equal(world.n_counted[POD_SIGNAL_SENT], 2);
    assert_int_equal(world.n_counted[POD_SIGNAL_FAILED] + world.n_counted[POD_SIGNAL_NONE], 0);
    assert_string_equal(kept_error_text(&world.volume.notice.error), "");
}

static void test_names_and_live_volumes(void **state)
{
    assert_int_equal(volume_text_set(&world.spec->update_container, "web"), 0);
    assert_int_equal(volume_text_set(&world.spec->update_process, "nginx"), 0);
    world.volume.fs = NODE_FS_LIVE;
    update();
    assert_string_equal(world.signal.container, "web");
    assert_string_equal(world.signal.process, "nginx");
    assert_int_equal(world.signal.device, makedev(0, 56));
    finish(1, 0, "");
}

static void test_volumes_that_are_not_signalled(void **state)
{
    char *uid = world.volume.pod_uid;

    world.spec->update_signal = 0;
    update();
    world.spec->update_signal = SIGHUP;
    world.volume.pod_uid = NULL;
    update();
    world.volume.pod_uid = uid;
    world.volume.state = NODE_VOLUME_AWAITING_MOUNT;
    update();
    assert_int_equal(world.n_orders, 0);
}

/* One order at a time, and a second between two; the last update has one for itself. */
static void test_many_updates(void **state)
{
    for (int i = 0; i < 10; i++)
        update();
    assert_int_equal(world.n_orders, 1);
    finish(1, 0, "");
    update();
    assert_int_equal(world.volume.notice.pace.state, UPDATE_PACE_PENDING);
    while (world.n_orders == 1)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    finish(1, 0, "");
    assert_int_equal(world.volume.notice.pace.state, UPDATE_PACE_IDLE);
    assert_int_equal(world.n_orders, 2);
}

static void test_failures(void **state)
{
    update();
    finish(1, 1, "cannot signal process 42: Operation not permitted");
    assert_int_equal(world.n_counted[POD_SIGNAL_SENT], 1);
    assert_int_equal(world.n_counted[POD_SIGNAL_FAILED], 1);
    assert_int_equal(world.n_counted[POD_SIGNAL_NONE], 0);
    assert_string_equal(kept_error_text(&world.volume.notice.error),
                        "cannot signal process 42: Operation not permitted");
    assert_int_equal(world.n_events_checked, 1);
}

static void test_no_process(void **state)
{
    update();
    finish(0, 0, "no running container has the volume mounted");
    assert_int_equal(world.n_counted[POD_SIGNAL_NONE], 1);
    assert_string_equal(kept_error_text(&world.volume.notice.error),
                        "no running container has the volume mounted");
}

static void test_no_thread(void **state)
{
    world.has_no_thread = true;
    update();
    assert_int_equal(world.n_counted[POD_SIGNAL_FAILED], 1);
    assert_string_equal(kept_error_text(&world.volume.notice.error),
                        "cannot start a thread that sends signals: "
                        "Resource temporarily unavailable");
    assert_int_equal(world.n_events_checked, 1);
}

/* The volume is gone when the result comes. */
static void test_result_of_a_removed_volume(void **state)
{
    update();
    world.volume.number++;
    finish(1, 0, "");
    assert_int_equal(world.n_counted[POD_SIGNAL_SENT], 1);
    assert_int_equal(world.n_events_checked, 0);
}

/* What is noted has been sent since it is visible. */
static void test_notified_updates(void **state)
{
    update();
    assert_int_equal(world.notified, 0);
    world.shown++; /* visible, and not reported yet */
    finish(1, 0, "");
    assert_int_equal(world.notified, 1);
    update();
    while (world.n_orders == 1)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    update();
    finish(1, 0, "");
    assert_int_equal(world.notified, 1); /* the last update is pending */
    while (world.n_orders == 2)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    finish(0, 0, "no running container has the volume mounted");
    assert_int_equal(world.notified, 4);
    world.volume.notice.pace.sent_at = 0;
    world.has_no_thread = true;
    update();
    assert_int_equal(world.notified, 5); /* a failure is not repeated */
}

/* Of a volume that was taken over. */
static void test_pending_at_the_start(void **state)
{
    world.shown = 7;
    node_volume_notices_check(world.notices, &world.volume);
    update_pace_update(&world.volume.notice.pace);
    node_volume_notices_check(world.notices, &world.volume);
    assert_int_equal(world.n_orders, 0); /* it is not among the volumes yet */
    while (world.n_orders == 0)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    finish(1, 0, "");
    assert_int_equal(world.notified, 7);
}

/* A daemon that ends sends what waits for its second. */
static void test_pending_at_the_end(void **state)
{
    update();
    finish(1, 0, "");
    update();
    assert_int_equal(world.n_orders, 1);
    world.notices = node_volume_notices_free(world.notices);
    assert_int_equal(world.n_orders, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_ordered),
        TEST(test_names_and_live_volumes),
        TEST(test_volumes_that_are_not_signalled),
        TEST(test_many_updates),
        TEST(test_failures),
        TEST(test_no_process),
        TEST(test_no_thread),
        TEST(test_result_of_a_removed_volume),
        TEST(test_notified_updates),
        TEST(test_pending_at_the_start),
        TEST(test_pending_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
