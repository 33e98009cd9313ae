/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve/daemon.h"

#include "tests/unit/assert_between.h"

/* A program that records what it is called for, and a service manager that records messages. */
struct program {
    struct daemon daemon;
    int start_result;
    struct error failure; /* for daemon_fail() during start() */
    int signal;           /* raised during start(), for the loop */
    char calls[256];
    int manager_fd;
};

static void record(struct program *c, const char *call)
{
    size_t len = strlen(c->calls), size = sizeof(c->calls) - len;
    int n = snprintf(c->calls + len, size, "%s%s", len > 0 ? " " : "", call);

    assert_between(n, 1, size - 1);
}

/* Append what the service manager has received so far, without the time of a reload. */
static void record_messages(struct program *c)
{
    char message[256];
    ssize_t n;

    while ((n = recv(c->manager_fd, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
        message[n] = '\0';
        message[strcspn(message, "\n")] = '\0';
        record(c, message);
    }
}

static int on_idle(sd_event_source *source, void *userdata)
{
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_start(struct daemon *daemon, struct error *e)
{
    struct program *c = CONTAINER_OF(daemon, struct program, daemon);

    assert_non_null(daemon->event);
    record(c, "start");
    if (c->failure.text[0] != '\0')
        daemon_fail(daemon, &c->failure);
    if (c->signal != 0)
        raise(c->signal);
    return c->start_result < 0 ? error_set(e, c->start_result, "cannot start") : 0;
}

static void on_reload(struct daemon *daemon)
{
    struct program *c = CONTAINER_OF(daemon, struct program, daemon);

    record_messages(c);
    record(c, "reload");
    assert_true(sd_event_add_defer(daemon->event, NULL, on_idle, NULL) >= 0);
}

static void on_stop(struct daemon *daemon)
{
    struct program *c = CONTAINER_OF(daemon, struct program, daemon);

    assert_null(daemon->watchdog);
    record_messages(c);
    record(c, "stop");
}

static const struct daemon_ops ops = {.start = on_start, .stop = on_stop};
static const struct daemon_ops reloading_ops = {
    .start = on_start, .reload = on_reload, .stop = on_stop};

static void set_up(struct program *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];

    *c = (struct program){.manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_true(c->manager_fd >= 0);
    snprintf(name, sizeof(name), "@secretfs-test-%d", getpid());
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    assert_int_equal(bind(c->manager_fd, (const struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void tear_down(struct program *c)
{
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    close(c->manager_fd);
}

static void test_sigterm_stops_with_success(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < ELEMENTS_OF(signals); i++) {
        struct error e = ERROR_INIT;
        struct program c;

        set_up(&c);
        c.signal = signals[i];
        assert_int_equal(daemon_run(&c.daemon, &ops, NULL, &e), 0);
        assert_string_equal(c.calls, "start STOPPING=1 stop");
        assert_string_equal(e.text, "");
        assert_null(c.daemon.event);
        tear_down(&c);
    }
}

static void test_sigusr2_asks_for_a_hand_over(void **state)
{
    static const int signals[] = {SIGUSR2, SIGTERM};

    for (size_t i = 0; i < ELEMENTS_OF(signals); i++) {
        struct error e = ERROR_INIT;
        struct program c;

        set_up(&c);
        c.signal = signals[i];
        assert_int_equal(daemon_run(&c.daemon, &ops, NULL, &e), 0);
        assert_int_equal(c.daemon.must_hand_over, signals[i] == SIGUSR2);
        assert_string_equal(c.calls, "start STOPPING=1 stop");
        tear_down(&c);
    }
}

static void test_sighup_reloads_between_its_notifications(void **state)
{
    struct error e = ERROR_INIT;
    struct program c;

    set_up(&c);
    c.signal = SIGHUP;
    assert_int_equal(daemon_run(&c.daemon, &reloading_ops, NULL, &e), 0);
    assert_string_equal(c.calls, "start RELOADING=1 reload READY=1 STOPPING=1 stop");
    tear_down(&c);
}

static void test_failed_start_is_stopped_and_reported(void **state)
{
    struct error e = ERROR_INIT;
    struct program c;

    set_up(&c);
    c.start_result = -EBUSY;
    assert_int_equal(daemon_run(&c.daemon, &ops, NULL, &e), -EBUSY);
    assert_string_equal(e.text, "cannot start");
    assert_string_equal(c.calls, "start STOPPING=1 stop");
    tear_down(&c);
}

static void test_failure_during_start_ends_the_loop_with_its_reason(void **state)
{
    struct error e = ERROR_INIT;
    struct program c;

    set_up(&c);
    error_set(&c.failure, -EIO, "no object");
    assert_true(daemon_run(&c.daemon, &ops, NULL, &e) < 0);
    assert_string_equal(e.text, "no object");
    assert_string_equal(c.calls, "start STOPPING=1 stop");
    tear_down(&c);
}

static int on_user_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                          void *userdata)
{
    struct program *c = userdata;

    record(c, "signal");
    return sd_event_exit(c->daemon.event, 0);
}

static int start_with_own_signal(struct daemon *daemon, struct error *e)
{
    struct program *c = CONTAINER_OF(daemon, struct program, daemon);

    record(c, "start");
    assert_null(daemon->watchdog);
    assert_true(sd_event_add_signal(daemon->event, NULL, SIGUSR1, on_user_signal, c) >= 0);
    raise(SIGUSR1);
    return 0;
}

static void test_own_signals_leave_the_service_manager_alone(void **state)
{
    static const struct daemon_ops own_ops = {.start = start_with_own_signal, .stop = on_stop};
    struct error e = ERROR_INIT;
    sigset_t own, blocked;
    struct program c;

    set_up(&c);
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    sigfillset(&blocked);
    pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
    assert_int_equal(daemon_run(&c.daemon, &own_ops, &own, &e), 0);
    assert_string_equal(c.calls, "start signal stop");
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGTERM));
    assert_true(sigismember(&blocked, SIGCHLD));
    tear_down(&c);
}

static void test_watchdog_waits_for_a_publisher(void **state)
{
    struct error e = ERROR_INIT;
    struct program c;

    set_up(&c);
    assert_int_equal(setenv("WATCHDOG_USEC", "1000", 1), 0);
    c.signal = SIGTERM;
    assert_int_equal(daemon_run(&c.daemon, &ops, NULL, &e), 0);
    assert_string_equal(c.calls, "start STOPPING=1 stop");
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
    tear_down(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_signals_leave_the_service_manager_alone),
        cmocka_unit_test(test_sigterm_stops_with_success),
        cmocka_unit_test(test_sigusr2_asks_for_a_hand_over),
        cmocka_unit_test(test_sighup_reloads_between_its_notifications),
        cmocka_unit_test(test_failed_start_is_stopped_and_reported),
        cmocka_unit_test(test_failure_during_start_ends_the_loop_with_its_reason),
        cmocka_unit_test(test_watchdog_waits_for_a_publisher),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
