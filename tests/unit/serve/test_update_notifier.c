/* SPDX-License-Identifier: Apache-2.0 */
/* What is requested for one volume, and when. The test replaces systemd and the commands. */
#include "serve/update_notifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct {
    sd_event *event;
    struct update_notifier *notifier;
    struct volume_spec *spec;
    struct published published;
    struct update_notice notice;
    uint64_t shown, notified; /* updates */
    unsigned n_ended;

    unit_reload_done_fn *reloaded;
    commands_done_fn *command_done;
    unsigned n_requests; /* of all kinds */
    unsigned n_cancelled, n_forgotten;
    bool fails;
} world;

/* ---- systemd */

const struct unit_bus unit_bus_system = {.name = "no bus"};

int unit_reloads_new(sd_event *event, const struct unit_bus *bus, struct unit_reloads **ret_reloads)
{
    *ret_reloads = (void *)&world; /* opaque */
    return 0;
}

struct unit_reloads *unit_reloads_free(struct unit_reloads *reloads)
{
    if (world.notice.reload != NULL) { /* systemd has the job */
        world.notice.reload = NULL;
        world.reloaded(&world.notice, &ERROR_INIT);
    }
    return NULL;
}

int unit_reloads_start(struct unit_reloads *reloads, const char *unit, unit_reload_done_fn *done,
                       void *userdata, struct unit_reload **handle, struct error *e)
{
    assert_string_equal(unit, "nginx.service");
    assert_ptr_equal(userdata, &world.notice);
    if (world.fails)
        return error_set(e, -ENOENT, "cannot call systemd");
    world.n_requests++;
    world.reloaded = done;
    *handle = (void *)&world; /* opaque */
    return 0;
}

void unit_reload_forget(struct unit_reload *reload)
{
    world.n_forgotten += reload != NULL;
}

/* ---- commands */

int commands_run(struct commands *commands, const struct commands_order *order,
                 commands_done_fn *done, void *userdata, struct commands_run **ret_run,
                 struct error *e)
{
    assert_string_equal(order->name, "reload");
    assert_string_equal(order->target, "/target");
    assert_string_equal(order->volume, "projected/prod/creds");
    assert_false(order->is_check);
    if (world.fails)
        return error_set(e, -EINVAL, "is unknown");
    world.n_requests++;
    world.command_done = done;
    *ret_run = (void *)&world; /* opaque */
    return 0;
}

struct commands_run *commands_cancel(struct commands_run *run)
{
    world.n_cancelled += run != NULL;
    return NULL;
}

/* ---- the owner */

static int on_send(void *userdata, struct update_notice *notice, struct error *e)
{
    if (world.fails)
        return error_set(e, -EAGAIN, "no thread");
    world.n_requests++;
    return 0;
}

static uint64_t on_shown(void *userdata, struct update_notice *notice)
{
    return world.shown;
}

static void on_notified(void *userdata, struct update_notice *notice, uint64_t update)
{
    assert_ptr_equal(notice, &world.notice);
    world.notified = update;
}

static void on_ended(void *userdata, struct update_notice *notice)
{
    world.n_ended++;
}

/* ---- */

static int set_up(void **state)
{
    static const struct update_notifier_callbacks callbacks = {
        .send = on_send, .shown = on_shown, .notified = on_notified, .ended = on_ended};

    memset(&world, 0, sizeof(world));
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(volume_spec_new(VOLUME_PROJECTED, &world.spec), 0);
    assert_int_equal(volume_text_set(&world.spec->name, "creds"), 0);
    world.published.options = (struct published_options){.spec = world.spec, .namespace = "prod"};
    world.notice = (struct update_notice){.published = &world.published, .target = "/target"};
    assert_int_equal(update_notifier_new(world.event, &unit_bus_system, NULL, &callbacks, &world,
                                         &world.notifier),
                     0);
    return 0;
}

static int tear_down(void **state)
{
    update_notifier_free(world.notifier);
    update_notice_deinit(&world.notice);
    volume_spec_free(world.spec);
    sd_event_unref(world.event);
    return 0;
}

static void update(void)
{
    world.shown++;
    update_notifier_updated(world.notifier, &world.notice);
}

static void end(const char *reason)
{
    struct error e = ERROR_INIT;

    error_set(&e, 0, "%s", reason);
    if (world.notice.action.unit != NULL) {
        world.notice.reload = NULL;
        world.reloaded(&world.notice, &e);
    } else if (world.notice.action.command != NULL) {
        world.command_done(&world.notice, NULL, 0, &e);
    } else {
        update_notifier_ended(world.notifier, &world.notice, &e);
    }
}

static void run_until_requests(unsigned n)
{
    while (world.n_requests < n)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    assert_int_equal(world.n_requests, n);
}

static const struct update_action actions[] = {
    {.unit = NULL}, {.unit = "nginx.service"}, {.command = "reload"}};

/* One at a time, a second apart, and the last update has one of its own. */
static void test_many_updates(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(actions); i++) {
        set_up(NULL);
        world.notice.action = actions[i];
        update();
        update();
        assert_int_equal(world.n_requests, 1);
        end("");
        assert_int_equal(world.notified, 0); /* the second update is pending */
        run_until_requests(2);
        end("it failed");
        assert_int_equal(world.notified, 2); /* a failure is not repeated */
        assert_string_equal(kept_error_text(&world.notice.error), "it failed");
        assert_int_equal(world.n_ended, 2);
        world.notice.pace.sent_at = 0;
        update();
        world.shown++; /* visible, and not reported yet */
        end("");
        assert_int_equal(world.notified, 3);
        assert_string_equal(kept_error_text(&world.notice.error), "");
        tear_down(NULL);
    }
}

static void test_requests_that_fail(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(actions); i++) {
        set_up(NULL);
        world.notice.action = actions[i];
        world.fails = true;
        update();
        assert_int_equal(world.notice.pace.state, UPDATE_PACE_IDLE);
        assert_int_equal(world.notified, 1);
        assert_string_not_equal(kept_error_text(&world.notice.error), "");
        tear_down(NULL);
    }
}

static void test_update_of_an_earlier_process(void **state)
{
    world.shown = 7;
    update_notice_adopt(&world.notice, 7, 0); /* unknown */
    update_notice_adopt(&world.notice, 7, 7);
    update_notifier_resume(world.notifier, &world.notice);
    assert_int_equal(world.notice.pace.state, UPDATE_PACE_IDLE);
    assert_null(world.notice.timer);
    update_notice_adopt(&world.notice, 7, 6);
    update_notifier_resume(world.notifier, &world.notice);
    update_notifier_resume(world.notifier, &world.notice);
    assert_int_equal(world.n_requests, 0); /* its volume is not complete yet */
    run_until_requests(1);
    end("");
    assert_int_equal(world.notified, 7);
}

/* What waits for its second is sent, and noted if it ends. A command is left to the next process.
 */
static void test_end(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(actions); i++) {
        set_up(NULL);
        world.notice.action = actions[i];
        update();
        end("");
        update();
        assert_int_equal(world.n_requests, 1);
        update_notifier_finish(world.notifier, &world.notice);
        assert_int_equal(world.n_requests, actions[i].command != NULL ? 1 : 2);
        if (actions[i].unit == NULL && actions[i].command == NULL)
            end("");
        world.notifier = update_notifier_free(world.notifier);
        assert_int_equal(world.notified, actions[i].command != NULL ? 1 : 2);
        tear_down(NULL);
    }
}

static void test_volume_that_goes(void **state)
{
    world.notice.action.command = "reload";
    update();
    update_notice_deinit(&world.notice);
    assert_int_equal(world.n_cancelled, 1);
    world.notice = (struct update_notice){
        .published = &world.published, .target = "/target", .action = {.unit = "nginx.service"}};
    update();
    update_notice_deinit(&world.notice);
    assert_int_equal(world.n_forgotten, 1);
    world.notice = (struct update_notice){.published = &world.published};
}

static void test_unused(void **state)
{
    struct update_notice none = {.published = NULL};

    assert_null(update_notifier_free(NULL));
    update_notice_deinit(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_updates),
        cmocka_unit_test(test_requests_that_fail),
        cmocka_unit_test_setup_teardown(test_update_of_an_earlier_process, set_up, tear_down),
        cmocka_unit_test(test_end),
        cmocka_unit_test_setup_teardown(test_volume_that_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
