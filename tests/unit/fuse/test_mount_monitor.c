/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount monitor, with mounts of the test's own: it stands in for what reads mountinfo, and
 * for the poll that reports its changes.
 */
#include "fuse/mount_monitor.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mountinfo.h"
#include "tests/unit/failmalloc.h"

#define DEVICE     makedev(0, 70)
#define OTHER      makedev(0, 71)
#define MOUNTS_MAX 8
#define PARTS_MAX  65536 /* the monitor's MOUNTED_PARTS_MAX */

/* ---- the stand-ins */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct mountinfo mounts[MOUNTS_MAX];
    size_t n;
    size_t n_repeats; /* of the last one */
    unsigned n_scans;
    unsigned n_to_fail; /* scans */
    bool has_changed;   /* and poll() has not reported it yet */
    bool is_held_up;    /* scans wait */
    unsigned n_held_up; /* scans that wait */
} host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void lock_host(void)
{
    pthread_mutex_lock(&host.lock);
}

static void unlock_host(void)
{
    pthread_cond_broadcast(&host.changed);
    pthread_mutex_unlock(&host.lock);
}

static bool visit_all(mountinfo_visit_fn *visit, void *userdata)
{
    for (size_t i = 0; i < host.n; i++)
        if (!visit(userdata, &host.mounts[i]))
            return false;
    for (size_t i = 0; i < host.n_repeats; i++)
        if (!visit(userdata, &host.mounts[host.n - 1]))
            return false;
    return true;
}

int mountinfo_visit(int dir_fd, const char *path, mountinfo_visit_fn *visit, void *userdata)
{
    int r = 0;

    assert_string_equal(path, "/proc/thread-self/mountinfo");
    lock_host();
    visit_all(visit, userdata);
    host.n_held_up++;
    pthread_cond_broadcast(&host.changed);
    while (host.is_held_up)
        pthread_cond_wait(&host.changed, &host.lock);
    host.n_held_up--;
    host.n_scans++;
    if (host.n_to_fail > 0) {
        host.n_to_fail--;
        r = -EIO;
    }
    unlock_host();
    return r;
}

static bool take_change(void)
{
    bool has_changed;

    lock_host();
    has_changed = host.has_changed;
    host.has_changed = false;
    unlock_host();
    return has_changed;
}

/*
 * Of the monitor: an eventfd, and mountinfo or -1. What really is mounted plays no part. The C
 * library declares poll() as one that writes to @fds only.
 */
int stand_in_for_poll(struct pollfd *fds, nfds_t n, int timeout_ms) __asm__("poll");
int stand_in_for_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    const struct timespec at_once = {0};
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                                     .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    struct pollfd wake = fds[0];
    bool is_asked = fds[1].fd >= 0, has_changed = is_asked && take_change();

    assert_int_equal(n, 2);
    ppoll(&wake, 1, has_changed ? &at_once : timeout_ms >= 0 ? &timeout : NULL, NULL);
    has_changed = has_changed || (is_asked && take_change());
    fds[0].revents = wake.revents;
    fds[1].revents = has_changed ? POLLERR | POLLPRI : 0;
    return 1;
}

/* ---- what the tests do and see */

struct fixture {
    struct mount_monitor *monitor;
    struct mount_subscription *subscription; /* of DEVICE */
    unsigned n_scanned;                      /* under the host's lock */
};

static void on_scanned(void *userdata)
{
    unsigned *n_scanned = userdata;

    lock_host();
    (*n_scanned)++;
    unlock_host();
}

/* Wait until mounts were scanned for a subscription, and forget that. */
static void wait_for_scan(unsigned *n_scanned)
{
    lock_host();
    while (*n_scanned == 0)
        pthread_cond_wait(&host.changed, &host.lock);
    *n_scanned = 0;
    unlock_host();
}

static struct mount_subscription *subscribe(struct fixture *f, dev_t device, unsigned *n_scanned)
{
    struct mount_subscription *subscription = NULL;

    assert_int_equal(
        mount_subscription_new(f->monitor, device, on_scanned, n_scanned, &subscription), 0);
    return subscription;
}

/* Ask until the answer is there, as the publisher does. */
static void request_until_scanned(struct mount_subscription *subscription)
{
    mono_us begin = clock_mono();

    while (mount_subscription_scanned_at(subscription) < begin) {
        mount_subscription_request_scan(subscription);
        sched_yield();
    }
}

/*
 * The monitor has nothing left to do. The first scan may have begun before the last request, and
 * the monitor then scans once more; the second comes after that.
 */
static void settle(struct fixture *f)
{
    struct mounted_parts mounts = {0};

    request_until_scanned(f->subscription);
    request_until_scanned(f->subscription);
    mount_subscription_take(f->subscription, &mounts);
    mounted_parts_deinit(&mounts);
    lock_host();
    f->n_scanned = 0;
    unlock_host();
}

static int setup(void **state)
{
    static struct fixture f;
    struct error e = ERROR_INIT;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    host.n = host.n_repeats = 0;
    host.n_to_fail = 0;
    host.has_changed = host.is_held_up = false;
    f = (struct fixture){0};
    assert_int_equal(mount_monitor_new(&f.monitor, &e), 0);
    f.subscription = subscribe(&f, DEVICE, &f.n_scanned);
    wait_for_scan(&f.n_scanned);
    settle(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->subscription = mount_subscription_free(f->subscription);
    f->monitor = mount_monitor_free(f->monitor);
    return 0;
}

static void mount(dev_t device, const char *root)
{
    lock_host();
    assert_true(host.n < MOUNTS_MAX);
    host.mounts[host.n++] = (struct mountinfo){.device = device, .root = root};
    unlock_host();
}

static void unmount_all(void)
{
    lock_host();
    host.n = host.n_repeats = 0;
    unlock_host();
}

/* Have poll() report that mounts have changed. */
static void note_change(struct fixture *f)
{
    lock_host();
    host.has_changed = true;
    unlock_host();
    assert_int_equal(eventfd_write(mount_subscription_fd(f->subscription), 1), 0);
}

/* The next scans find what is mounted by now, and do not end before let_go(). */
static void hold_up(struct fixture *f)
{
    lock_host();
    host.is_held_up = true;
    unlock_host();
    note_change(f);
    lock_host();
    while (host.n_held_up == 0)
        pthread_cond_wait(&host.changed, &host.lock);
    unlock_host();
}

static void let_go(void)
{
    lock_host();
    host.is_held_up = false;
    unlock_host();
}

static unsigned n_scans(void)
{
    unsigned n;

    lock_host();
    n = host.n_scans;
    unlock_host();
    return n;
}

/* What a subscription has to be taken: the roots, each with a blank before it. */
static void assert_takes(struct mount_subscription *subscription, const char *roots)
{
    struct mounted_parts mounts;
    char text[256] = "";

    assert_true(mount_subscription_take(subscription, &mounts));
    for (size_t i = 0; i < mounts.n; i++) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, " %s", mounts.roots[i]);
    }
    assert_string_equal(text, roots);
    mounted_parts_deinit(&mounts);
    assert_int_equal(mounts.n, 0);
    assert_false(mount_subscription_take(subscription, &mounts));
}

/* ---- scans */

static void parts_of_volumes_are_found(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/");
    mount(DEVICE, "/volume");
    mount(DEVICE, "/volume/..2023_11_14_22_13_20.1/key");
    mount(OTHER, "/volume/..2023_11_14_22_13_20.2/key");
    mount(DEVICE, "/.live/5");
    mount(DEVICE, "/..2023_11_14_22_13_20.1/d//deleted");
    note_change(f);
    wait_for_scan(&f->n_scanned);
    assert_takes(f->subscription, " /volume/..2023_11_14_22_13_20.1/key /.live/5 "
                                  "/..2023_11_14_22_13_20.1/d//deleted");
}

static void newest_scan_counts(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/.live/1");
    note_change(f);
    wait_for_scan(&f->n_scanned);
    unmount_all(); /* the result of the last scan was not taken */
    mount(DEVICE, "/.live/2");
    mount(DEVICE, "/.live/3");
    note_change(f);
    wait_for_scan(&f->n_scanned);
    assert_takes(f->subscription, " /.live/2 /.live/3");
    unmount_all();
    note_change(f);
    wait_for_scan(&f->n_scanned);
    assert_takes(f->subscription, "");
}

/* For the memory checkers. */
static void what_is_not_taken_goes_with_the_subscription(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/.live/1");
    note_change(f);
    wait_for_scan(&f->n_scanned);
}

static void time_of_a_scan_is_when_it_began(void **state)
{
    struct fixture *f = *state;
    mono_us before = clock_mono(), held_up;

    assert_true(mount_subscription_scanned_at(f->subscription) > 0);
    assert_true(mount_subscription_scanned_at(f->subscription) <= before);
    hold_up(f);
    assert_true(mount_subscription_scanned_at(f->subscription) <=
                before); /* its result is not there */
    held_up = clock_mono();
    let_go();
    while (mount_subscription_scanned_at(f->subscription) < before)
        sched_yield();
    assert_true(mount_subscription_scanned_at(f->subscription) <= held_up);
}

struct notified {
    struct mount_subscription *subscription;
    mono_us scanned_at; /* as it was when the subscriber was notified */
    unsigned n_scanned;
};

static void on_scanned_note_time(void *userdata)
{
    struct notified *notified = userdata;

    notified->scanned_at = mount_subscription_scanned_at(notified->subscription);
    on_scanned(&notified->n_scanned);
}

/* A thread that reads the time of a scan has been notified of its result. */
static void time_is_published_after_the_notification(void **state)
{
    struct fixture *f = *state;
    struct notified notified = {.subscription = f->subscription};
    struct mount_subscription *subscription = NULL;
    mono_us before = clock_mono();

    assert_int_equal(
        mount_subscription_new(f->monitor, DEVICE, on_scanned_note_time, &notified, &subscription),
        0);
    wait_for_scan(&notified.n_scanned);
    settle(f);
    assert_true(notified.scanned_at < before);
    mount_subscription_free(subscription);
}

/* If nothing has changed, the last scan holds for now as well. */
static void request_without_a_change_takes_no_scan(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_scans();

    request_until_scanned(f->subscription);
    request_until_scanned(f->subscription);
    assert_int_equal(n_scans(), before);
    assert_int_equal(f->n_scanned, 0);
}

static void request_after_a_change_takes_one(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_scans();

    mount(DEVICE, "/.live/1");
    lock_host();
    host.has_changed = true;
    unlock_host();
    request_until_scanned(f->subscription);
    assert_int_equal(n_scans(), before + 1);
    assert_takes(f->subscription, " /.live/1");
}

/* The last result stays, and mounts are scanned again although they do not change. */
static void failed_scan_is_repeated(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_scans();
    mono_us scanned_at = mount_subscription_scanned_at(f->subscription);

    lock_host();
    host.n_to_fail = 2;
    unlock_host();
    mount(DEVICE, "/.live/1");
    hold_up(f);
    assert_int_equal(mount_subscription_scanned_at(f->subscription), scanned_at);
    let_go();
    wait_for_scan(&f->n_scanned);
    assert_int_equal(n_scans(), before + 3);
    assert_takes(f->subscription, " /.live/1");
}

/* It takes root on the host to make more mounts than this. */
static void mounts_past_the_maximum_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct mounted_parts mounts;

    mount(OTHER, "/.live/1");
    mount(DEVICE, "/.live/2");
    lock_host();
    host.n_repeats = PARTS_MAX;
    unlock_host();
    note_change(f);
    wait_for_scan(&f->n_scanned);
    assert_true(mount_subscription_take(f->subscription, &mounts));
    assert_int_equal(mounts.n, PARTS_MAX);
    assert_string_equal(mounts.roots[PARTS_MAX - 1], "/.live/2");
    mounted_parts_deinit(&mounts);
    lock_host();
    host.n_repeats = 0;
    unlock_host();
    note_change(f);
    wait_for_scan(&f->n_scanned);
    assert_takes(f->subscription, " /.live/2");
}

/* ---- subscriptions */

static void each_subscription_gets_its_own(void **state)
{
    struct fixture *f = *state;
    unsigned n_scanned = 0, n_scanned_again = 0;
    struct mount_subscription *other, *again;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    other = subscribe(f, OTHER, &n_scanned);
    wait_for_scan(&n_scanned);
    wait_for_scan(&f->n_scanned);
    assert_takes(other, " /.live/2");
    assert_takes(f->subscription, " /.live/1");
    settle(f);
    again = subscribe(f, DEVICE, &n_scanned_again);
    wait_for_scan(&n_scanned_again);
    assert_takes(again, " /.live/1");
    assert_null(mount_subscription_free(other));
    assert_null(mount_subscription_free(again));
    assert_null(mount_subscription_free(NULL));
}

static void subscriptions_are_limited(void **state)
{
    struct fixture *f = *state;
    struct mount_subscription *subscriptions[3], *none = NULL;
    unsigned n_scanned[3] = {0}, unused = 0;

    for (size_t i = 0; i < ELEMENTS_OF(subscriptions); i++)
        subscriptions[i] = subscribe(f, makedev(0, 80 + (unsigned)i), &n_scanned[i]);
    assert_int_equal(mount_subscription_new(f->monitor, OTHER, on_scanned, &unused, &none),
                     -EMFILE);
    assert_null(none);
    for (size_t i = 0; i < ELEMENTS_OF(subscriptions); i++)
        wait_for_scan(&n_scanned[i]);
    settle(f);
    mount_subscription_free(subscriptions[1]);
    mount(OTHER, "/.live/1");
    subscriptions[1] = subscribe(f, OTHER, &unused);
    wait_for_scan(&unused);
    assert_takes(subscriptions[1], " /.live/1");
    for (size_t i = 0; i < ELEMENTS_OF(subscriptions); i++)
        mount_subscription_free(subscriptions[i]);
}

/* One that comes in the middle of a scan gets the next one. */
static void subscription_that_comes_during_a_scan(void **state)
{
    struct fixture *f = *state;
    struct mount_subscription *other;
    unsigned n_scanned = 0;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    hold_up(f);
    other = subscribe(f, OTHER, &n_scanned);
    assert_int_equal(n_scanned, 0);
    let_go();
    wait_for_scan(&n_scanned);
    assert_takes(other, " /.live/2");
    mount_subscription_free(other);
}

/* Its slot may be another subscription's when the scan ends, which must not get its mounts. */
static void subscription_that_goes_during_a_scan(void **state)
{
    struct fixture *f = *state;
    unsigned n_scanned = 0;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    hold_up(f);
    mount_subscription_free(f->subscription);
    f->subscription = subscribe(f, OTHER, &n_scanned);
    let_go();
    wait_for_scan(&n_scanned);
    assert_takes(f->subscription, " /.live/2");
    assert_int_equal(f->n_scanned, 0);
}

static int watch_and_free(void *userdata)
{
    struct fixture *f = userdata;
    struct mount_subscription *subscription = NULL;
    unsigned unused = 0;
    int r = mount_subscription_new(f->monitor, OTHER, on_scanned, &unused, &subscription);

    mount_subscription_free(subscription);
    return r;
}

static void memory_can_be_short(void **state)
{
    struct fixture *f = *state;

    hold_up(f); /* the monitor's thread is to use no memory meanwhile */
    failmalloc_try(watch_and_free, f);
    let_go();
    wait_for_scan(&f->n_scanned);
}

static void monitor_without_subscriptions(void **state)
{
    struct mount_monitor *monitor = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(mount_monitor_new(&monitor, &e), 0);
    assert_null(mount_monitor_free(monitor));
    assert_null(mount_monitor_free(NULL));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(parts_of_volumes_are_found),
        TEST(newest_scan_counts),
        TEST(what_is_not_taken_goes_with_the_subscription),
        TEST(time_of_a_scan_is_when_it_began),
        TEST(time_is_published_after_the_notification),
        TEST(request_without_a_change_takes_no_scan),
        TEST(request_after_a_change_takes_one),
        TEST(failed_scan_is_repeated),
        TEST(mounts_past_the_maximum_are_left_out),
        TEST(each_subscription_gets_its_own),
        TEST(subscriptions_are_limited),
        TEST(subscription_that_comes_during_a_scan),
        TEST(subscription_that_goes_during_a_scan),
        TEST(memory_can_be_short),
        cmocka_unit_test(monitor_without_subscriptions),
    };

    return cmocka_run_group_tests_name("mount monitor", tests, NULL, NULL);
}
