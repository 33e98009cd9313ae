/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a systemd that the test is, at the other end of a socket. */
#include "serve/unit_reloads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    sd_event *event;
    struct unit_reloads *reloads;
    struct unit_reload *handle; /* of the last request */
    sd_bus *server;             /* the last */
    const char *refusal;        /* NULL: systemd takes the job */
    const char *result;         /* of the job; NULL: it goes on */
    unsigned n_calls, n_done;
    char call[256]; /* the last: "UNIT MODE" */
    struct error error;
} world;

/* ---- systemd */

#define JOB       "/org/freedesktop/systemd1/job/1"
#define OTHER_JOB "/org/freedesktop/systemd1/job/2"

/* The bus, which is missing here, names the sender. */
static int end_job(const char *job, const char *result)
{
    sd_bus_message *signal = NULL;
    int r = sd_bus_message_new_signal(world.server, &signal, "/org/freedesktop/systemd1",
                                      "org.freedesktop.systemd1.Manager", "JobRemoved");

    if (r >= 0)
        r = sd_bus_message_set_sender(signal, "org.freedesktop.systemd1");
    if (r >= 0)
        r = sd_bus_message_append(signal, "uoss", 1, job, "nginx.service", result);
    if (r >= 0)
        r = sd_bus_send(NULL, signal, NULL);
    sd_bus_message_unref(signal);
    return r;
}

static int on_call(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    const char *unit, *mode;
    int r;

    if (!sd_bus_message_is_method_call(call, "org.freedesktop.systemd1.Manager", "ReloadUnit"))
        return 0;
    world.n_calls++;
    assert_true(sd_bus_message_read(call, "ss", &unit, &mode) > 0);
    snprintf(world.call, sizeof(world.call), "%s %s", unit, mode);
    if (world.refusal != NULL)
        return sd_bus_reply_method_errorf(call, "org.freedesktop.systemd1.NoSuchUnit", "%s",
                                          world.refusal);
    r = sd_bus_reply_method_return(call, "o", JOB);
    if (r >= 0 && world.result != NULL)
        r = end_job(OTHER_JOB, "failed");
    return r >= 0 && world.result != NULL ? end_job(JOB, world.result) : r;
}

static int start_server(int fd)
{
    sd_id128_t id = {.bytes = {1}};
    int r = sd_bus_new(&world.server);

    if (r >= 0)
        r = sd_bus_set_fd(world.server, fd, fd);
    if (r >= 0)
        r = sd_bus_set_server(world.server, 1, id);
    if (r >= 0)
        r = sd_bus_set_trusted(world.server, 1);
    if (r >= 0)
        r = sd_bus_start(world.server);
    if (r >= 0)
        r = sd_bus_add_filter(world.server, NULL, on_call, NULL);
    return r >= 0 ? sd_bus_attach_event(world.server, world.event, SD_EVENT_PRIORITY_NORMAL) : r;
}

static int open_bus(sd_bus **ret_bus)
{
    int fds[2], r;

    world.server = sd_bus_close_unref(world.server);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_true(start_server(fds[0]) >= 0);
    r = sd_bus_new(ret_bus);
    if (r >= 0)
        r = sd_bus_set_fd(*ret_bus, fds[1], fds[1]);
    return r >= 0 ? sd_bus_start(*ret_bus) : r;
}

static int open_nothing(sd_bus **ret_bus)
{
    return -ENOENT;
}

/* ---- */

static const struct unit_bus bus = {.name = "the test's bus", .open = open_bus};

static void on_done(void *userdata, const struct error *e)
{
    assert_ptr_equal(userdata, &world);
    assert_null(world.handle);
    world.n_done++;
    world.error = *e;
}

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    world.result = "done";
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(unit_reloads_new(world.event, &bus, &world.reloads), 0);
    return 0;
}

static int tear_down(void **state)
{
    unit_reloads_free(world.reloads);
    sd_bus_close_unref(world.server);
    sd_event_unref(world.event);
    return 0;
}

static void request(void)
{
    struct error e = ERROR_INIT;

    assert_int_equal(
        unit_reloads_start(world.reloads, "nginx.service", on_done, &world, &world.handle, &e), 0);
    assert_non_null(world.handle);
}

static void run_until(const unsigned *number, unsigned n)
{
    while (*number < n)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
}

static void test_reload(void **state)
{
    for (unsigned i = 1; i <= 3; i++) {
        request();
        run_until(&world.n_done, i);
        assert_string_equal(world.call, "nginx.service replace");
        assert_string_equal(world.error.text, "");
    }
    assert_int_equal(world.n_calls, 3);
}

static void test_refusal(void **state)
{
    world.refusal = "Unit nginx.service not found.";
    request();
    run_until(&world.n_done, 1);
    assert_string_equal(world.error.text, "Unit nginx.service not found.");
}

static void test_results_of_jobs(void **state)
{
    static const struct {
        const char *result, *text;
    } results[] = {
        {"invalid", "nginx.service is not active, so it cannot be reloaded"},
        {"failed", "the reload of nginx.service ended with \"failed\": see journalctl -u "
                   "nginx.service"},
        {"done", ""},
    };

    for (unsigned i = 0; i < ELEMENTS_OF(results); i++) {
        world.result = results[i].result;
        request();
        run_until(&world.n_done, i + 1);
        assert_string_equal(world.error.text, results[i].text);
    }
}

/* While the job runs. */
static void test_bus_that_hangs_up_later(void **state)
{
    world.result = NULL;
    request();
    run_until(&world.n_calls, 1);
    sd_bus_flush(world.server);
    for (unsigned i = 0; i < 5; i++) /* the reply */
        sd_event_run(world.event, 0);
    assert_int_equal(world.n_done, 0);
    world.server = sd_bus_close_unref(world.server);
    run_until(&world.n_done, 1);
    assert_string_equal(world.error.text, "the test's bus closed the connection");
}

static void test_bus_that_hangs_up(void **state)
{
    request();
    world.server = sd_bus_close_unref(world.server);
    run_until(&world.n_done, 1);
    assert_string_not_equal(world.error.text, "");
}

static void test_no_bus(void **state)
{
    static const struct unit_bus nothing = {.name = "nothing", .open = open_nothing};
    struct error e = ERROR_INIT;

    unit_reloads_free(world.reloads);
    assert_int_equal(unit_reloads_new(world.event, &nothing, &world.reloads), 0);
    assert_int_equal(
        unit_reloads_start(world.reloads, "nginx.service", on_done, &world, &world.handle, &e),
        -ENOENT);
    assert_null(world.handle);
    assert_string_equal(e.text, "cannot call systemd by nothing: No such file or directory");
    assert_int_equal(world.n_done, 0);
}

/* A systemd that does not answer: the end waits for it, and not for ever. */
static void test_end_with_a_request(void **state)
{
    request();
    world.reloads = unit_reloads_free(world.reloads);
    assert_int_equal(world.n_done, 0);
    assert_null(world.handle);
}

/* The volume is gone; systemd reloads the unit all the same. */
static void test_request_that_nothing_waits_for(void **state)
{
    request();
    unit_reload_forget(world.handle);
    assert_null(world.handle);
    unit_reload_forget(NULL);
    run_until(&world.n_calls, 1);
    request();
    run_until(&world.n_done, 1);
    assert_int_equal(world.n_calls, 2);
}

/* Nothing waits for the job's end. */
static void test_end_while_a_job_runs(void **state)
{
    world.result = NULL;
    request();
    run_until(&world.n_calls, 1);
    sd_bus_flush(world.server);
    world.reloads = unit_reloads_free(world.reloads);
    assert_int_equal(world.n_done, 1);
    assert_string_equal(world.error.text, "");
}

/* systemd has replied: there is nothing to wait for. */
static void test_end_after_the_reply(void **state)
{
    world.result = NULL;
    request();
    run_until(&world.n_calls, 1);
    sd_bus_flush(world.server);
    for (unsigned i = 0; i < 5; i++) /* the reply */
        sd_event_run(world.event, 0);
    assert_int_equal(world.n_done, 0);
    world.reloads = unit_reloads_free(world.reloads);
    assert_int_equal(world.n_done, 1);
    assert_string_equal(world.error.text, "");
}

static void test_unused(void **state)
{
    assert_null(unit_reloads_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_results_of_jobs),
        TEST(test_bus_that_hangs_up_later),
        TEST(test_reload),
        TEST(test_refusal),
        TEST(test_bus_that_hangs_up),
        TEST(test_no_bus),
        TEST(test_end_with_a_request),
        TEST(test_request_that_nothing_waits_for),
        TEST(test_end_while_a_job_runs),
        TEST(test_end_after_the_reply),
        TEST(test_unused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
