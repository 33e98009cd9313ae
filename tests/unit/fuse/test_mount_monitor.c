/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount monitor, with mounts that the test makes up: it stands in for what reads mountinfo, and
 * for the poll that tells of its changes.
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

#define DEVICE      makedev(0, 70)
#define OTHER       makedev(0, 71)
#define MADE_UP_MAX 8
#define SEEN_MAX    65536 /* the monitor's MOUNTED_PARTS_MAX */

/* ---- the stand-ins */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct mountinfo mounts[MADE_UP_MAX];
    size_t n;
    size_t n_repeats; /* of the last one */
    unsigned n_looks;
    unsigned n_to_fail; /* looks */
    bool has_changed;   /* and poll() has not told it yet */
    bool is_held_up;    /* looks wait */
    unsigned n_held_up; /* looks that wait */
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
    host.n_looks++;
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
    struct mount_subscription *watch; /* of DEVICE */
    unsigned n_seen;                  /* under the host's lock */
};

static void on_seen(void *userdata)
{
    unsigned *n_seen = userdata;

    lock_host();
    (*n_seen)++;
    unlock_host();
}

/* Wait until mounts were looked at for a watch, and forget that. */
static void wait_for_look(unsigned *n_seen)
{
    lock_host();
    while (*n_seen == 0)
        pthread_cond_wait(&host.changed, &host.lock);
    *n_seen = 0;
    unlock_host();
}

static struct mount_subscription *watch_new(struct fixture *f, dev_t device, unsigned *n_seen)
{
    struct mount_subscription *watch = NULL;

    assert_int_equal(mount_subscription_new(f->monitor, device, on_seen, n_seen, &watch), 0);
    return watch;
}

/* Ask until the answer is there, as the publisher does. */
static void request_until_seen(struct mount_subscription *watch)
{
    mono_us begin = clock_mono();

    while (mount_subscription_scanned_at(watch) < begin) {
        mount_subscription_request_scan(watch);
        sched_yield();
    }
}

/*
 * The monitor has nothing left to do. The first look may have begun before what was asked for
 * last, and the monitor then looks once more; the second comes after that.
 */
static void settle(struct fixture *f)
{
    struct mounted_parts mounts = {0};

    request_until_seen(f->watch);
    request_until_seen(f->watch);
    mount_subscription_take(f->watch, &mounts);
    mounted_parts_deinit(&mounts);
    lock_host();
    f->n_seen = 0;
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
    f.watch = watch_new(&f, DEVICE, &f.n_seen);
    wait_for_look(&f.n_seen);
    settle(&f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->watch = mount_subscription_free(f->watch);
    f->monitor = mount_monitor_free(f->monitor);
    return 0;
}

static void mount(dev_t device, const char *root)
{
    lock_host();
    assert_true(host.n < MADE_UP_MAX);
    host.mounts[host.n++] = (struct mountinfo){.device = device, .root = root};
    unlock_host();
}

static void unmount_all(void)
{
    lock_host();
    host.n = host.n_repeats = 0;
    unlock_host();
}

/* Have poll() tell that mounts have changed. */
static void note_change(struct fixture *f)
{
    lock_host();
    host.has_changed = true;
    unlock_host();
    assert_int_equal(eventfd_write(mount_subscription_fd(f->watch), 1), 0);
}

/* The next looks see what is mounted by now, and are not over before let_go(). */
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

static unsigned n_looks(void)
{
    unsigned n;

    lock_host();
    n = host.n_looks;
    unlock_host();
    return n;
}

/* What a watch has to be taken: the roots, each with a blank before it. */
static void assert_takes(struct mount_subscription *watch, const char *roots)
{
    struct mounted_parts mounts;
    char text[256] = "";

    assert_true(mount_subscription_take(watch, &mounts));
    for (size_t i = 0; i < mounts.n; i++) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof(text) - used, " %s", mounts.roots[i]);
    }
    assert_string_equal(text, roots);
    mounted_parts_deinit(&mounts);
    assert_int_equal(mounts.n, 0);
    assert_false(mount_subscription_take(watch, &mounts));
}

/* ---- looking */

static void parts_of_volumes_are_seen(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/");
    mount(DEVICE, "/volume");
    mount(DEVICE, "/volume/..2023_11_14_22_13_20.1/key");
    mount(OTHER, "/volume/..2023_11_14_22_13_20.2/key");
    mount(DEVICE, "/.live/5");
    mount(DEVICE, "/..2023_11_14_22_13_20.1/d//deleted");
    note_change(f);
    wait_for_look(&f->n_seen);
    assert_takes(f->watch, " /volume/..2023_11_14_22_13_20.1/key /.live/5 "
                           "/..2023_11_14_22_13_20.1/d//deleted");
}

static void newest_look_counts(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/.live/1");
    note_change(f);
    wait_for_look(&f->n_seen);
    unmount_all(); /* what the last look saw was not taken */
    mount(DEVICE, "/.live/2");
    mount(DEVICE, "/.live/3");
    note_change(f);
    wait_for_look(&f->n_seen);
    assert_takes(f->watch, " /.live/2 /.live/3");
    unmount_all();
    note_change(f);
    wait_for_look(&f->n_seen);
    assert_takes(f->watch, "");
}

/* For the memory checkers. */
static void what_is_not_taken_goes_with_the_watch(void **state)
{
    struct fixture *f = *state;

    mount(DEVICE, "/.live/1");
    note_change(f);
    wait_for_look(&f->n_seen);
}

static void time_of_a_look_is_when_it_began(void **state)
{
    struct fixture *f = *state;
    mono_us before = clock_mono(), held_up;

    assert_true(mount_subscription_scanned_at(f->watch) > 0);
    assert_true(mount_subscription_scanned_at(f->watch) <= before);
    hold_up(f);
    assert_true(mount_subscription_scanned_at(f->watch) <= before); /* its result is not there */
    held_up = clock_mono();
    let_go();
    while (mount_subscription_scanned_at(f->watch) < before)
        sched_yield();
    assert_true(mount_subscription_scanned_at(f->watch) <= held_up);
}

struct telling {
    struct mount_subscription *watch;
    mono_us seen_at; /* as it was when the watch was told */
    unsigned n_seen;
};

static void on_seen_note_time(void *userdata)
{
    struct telling *telling = userdata;

    telling->seen_at = mount_subscription_scanned_at(telling->watch);
    on_seen(&telling->n_seen);
}

/* Who finds the time of a look has been told that there is something to take. */
static void time_comes_after_what_was_seen(void **state)
{
    struct fixture *f = *state;
    struct telling telling = {.watch = f->watch};
    struct mount_subscription *watch = NULL;
    mono_us before = clock_mono();

    assert_int_equal(
        mount_subscription_new(f->monitor, DEVICE, on_seen_note_time, &telling, &watch), 0);
    wait_for_look(&telling.n_seen);
    settle(f);
    assert_true(telling.seen_at < before);
    mount_subscription_free(watch);
}

/* If nothing has changed, the last look holds for now as well. */
static void request_without_a_change_takes_no_look(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_looks();

    request_until_seen(f->watch);
    request_until_seen(f->watch);
    assert_int_equal(n_looks(), before);
    assert_int_equal(f->n_seen, 0);
}

static void request_after_a_change_takes_one(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_looks();

    mount(DEVICE, "/.live/1");
    lock_host();
    host.has_changed = true;
    unlock_host();
    request_until_seen(f->watch);
    assert_int_equal(n_looks(), before + 1);
    assert_takes(f->watch, " /.live/1");
}

/* What was known stays, and there is another look although mounts do not change. */
static void look_that_fails_is_made_again(void **state)
{
    struct fixture *f = *state;
    unsigned before = n_looks();
    mono_us seen_at = mount_subscription_scanned_at(f->watch);

    lock_host();
    host.n_to_fail = 2;
    unlock_host();
    mount(DEVICE, "/.live/1");
    hold_up(f);
    assert_int_equal(mount_subscription_scanned_at(f->watch), seen_at);
    let_go();
    wait_for_look(&f->n_seen);
    assert_int_equal(n_looks(), before + 3);
    assert_takes(f->watch, " /.live/1");
}

/* Who can make more mounts than this is root on the host. */
static void mounts_past_the_maximum_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct mounted_parts mounts;

    mount(OTHER, "/.live/1");
    mount(DEVICE, "/.live/2");
    lock_host();
    host.n_repeats = SEEN_MAX;
    unlock_host();
    note_change(f);
    wait_for_look(&f->n_seen);
    assert_true(mount_subscription_take(f->watch, &mounts));
    assert_int_equal(mounts.n, SEEN_MAX);
    assert_string_equal(mounts.roots[SEEN_MAX - 1], "/.live/2");
    mounted_parts_deinit(&mounts);
    lock_host();
    host.n_repeats = 0;
    unlock_host();
    note_change(f);
    wait_for_look(&f->n_seen);
    assert_takes(f->watch, " /.live/2");
}

/* ---- watches */

static void each_watch_sees_its_own(void **state)
{
    struct fixture *f = *state;
    unsigned n_seen = 0, n_seen_again = 0;
    struct mount_subscription *other, *again;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    other = watch_new(f, OTHER, &n_seen);
    wait_for_look(&n_seen);
    wait_for_look(&f->n_seen);
    assert_takes(other, " /.live/2");
    assert_takes(f->watch, " /.live/1");
    settle(f);
    again = watch_new(f, DEVICE, &n_seen_again);
    wait_for_look(&n_seen_again);
    assert_takes(again, " /.live/1");
    assert_null(mount_subscription_free(other));
    assert_null(mount_subscription_free(again));
    assert_null(mount_subscription_free(NULL));
}

static void watches_are_limited(void **state)
{
    struct fixture *f = *state;
    struct mount_subscription *watches[3], *none = NULL;
    unsigned n_seen[3] = {0}, unused = 0;

    for (size_t i = 0; i < ELEMENTS_OF(watches); i++)
        watches[i] = watch_new(f, makedev(0, 80 + (unsigned)i), &n_seen[i]);
    assert_int_equal(mount_subscription_new(f->monitor, OTHER, on_seen, &unused, &none), -EMFILE);
    assert_null(none);
    for (size_t i = 0; i < ELEMENTS_OF(watches); i++)
        wait_for_look(&n_seen[i]);
    settle(f);
    mount_subscription_free(watches[1]);
    mount(OTHER, "/.live/1");
    watches[1] = watch_new(f, OTHER, &unused);
    wait_for_look(&unused);
    assert_takes(watches[1], " /.live/1");
    for (size_t i = 0; i < ELEMENTS_OF(watches); i++)
        mount_subscription_free(watches[i]);
}

/* One that comes in the middle of a look gets the next one. */
static void watch_that_comes_during_a_look(void **state)
{
    struct fixture *f = *state;
    struct mount_subscription *other;
    unsigned n_seen = 0;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    hold_up(f);
    other = watch_new(f, OTHER, &n_seen);
    assert_int_equal(n_seen, 0);
    let_go();
    wait_for_look(&n_seen);
    assert_takes(other, " /.live/2");
    mount_subscription_free(other);
}

/* Its place may be another's when the look is over, to whom the mounts are of no concern. */
static void watch_that_goes_during_a_look(void **state)
{
    struct fixture *f = *state;
    unsigned n_seen = 0;

    mount(DEVICE, "/.live/1");
    mount(OTHER, "/.live/2");
    hold_up(f);
    mount_subscription_free(f->watch);
    f->watch = watch_new(f, OTHER, &n_seen);
    let_go();
    wait_for_look(&n_seen);
    assert_takes(f->watch, " /.live/2");
    assert_int_equal(f->n_seen, 0);
}

static int watch_and_free(void *userdata)
{
    struct fixture *f = userdata;
    struct mount_subscription *watch = NULL;
    unsigned unused = 0;
    int r = mount_subscription_new(f->monitor, OTHER, on_seen, &unused, &watch);

    mount_subscription_free(watch);
    return r;
}

static void memory_can_be_short(void **state)
{
    struct fixture *f = *state;

    hold_up(f); /* the monitor's thread is to use no memory meanwhile */
    failmalloc_try(watch_and_free, f);
    let_go();
    wait_for_look(&f->n_seen);
}

static void monitor_without_watches(void **state)
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
        TEST(parts_of_volumes_are_seen),
        TEST(newest_look_counts),
        TEST(what_is_not_taken_goes_with_the_watch),
        TEST(time_of_a_look_is_when_it_began),
        TEST(time_comes_after_what_was_seen),
        TEST(request_without_a_change_takes_no_look),
        TEST(request_after_a_change_takes_one),
        TEST(look_that_fails_is_made_again),
        TEST(mounts_past_the_maximum_are_left_out),
        TEST(each_watch_sees_its_own),
        TEST(watches_are_limited),
        TEST(watch_that_comes_during_a_look),
        TEST(watch_that_goes_during_a_look),
        TEST(memory_can_be_short),
        cmocka_unit_test(monitor_without_watches),
    };

    return cmocka_run_group_tests_name("mount monitor", tests, NULL, NULL);
}
