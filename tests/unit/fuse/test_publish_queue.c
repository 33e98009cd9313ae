/* SPDX-License-Identifier: Apache-2.0 */
/* The publish queue on a clock of the test's own. */
#include "fuse/publish_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

#define CLEAN_AFTER SPAN_MS(10)
#define SCAN_POLL   SPAN_MS(2)
#define DRAIN_POLL  200u

struct fixture {
    struct publish_queue queue;
    struct publish_entry a, b;
    mono_us now;
};

static void fixture_init(struct fixture *f, bool needs_scan)
{
    f->now = SPAN_SEC(100);
    publish_queue_init(&f->queue, needs_scan);
    publish_entry_init(&f->a);
    publish_entry_init(&f->b);
}

#define next_is(f, action_, entry_)                                                                \
    do {                                                                                           \
        struct publish_step step_ = publish_queue_next(&(f)->queue, (f)->now);                     \
                                                                                                   \
        assert_int_equal(step_.action, action_);                                                   \
        assert_ptr_equal(step_.entry, entry_);                                                     \
        if (step_.entry != NULL)                                                                   \
            publish_queue_done(step_.entry);                                                       \
    } while (0)

#define waits_until(f, until_)                                                                     \
    do {                                                                                           \
        struct publish_step step_ = publish_queue_next(&(f)->queue, (f)->now);                     \
                                                                                                   \
        assert_int_equal(step_.action, PUBLISH_ACTION_WAIT);                                       \
        assert_null(step_.entry);                                                                  \
        assert_true(step_.wait_until == (until_));                                                 \
    } while (0)

static void begin(struct fixture *f, struct publish_entry *e)
{
    publish_queue_submit(&f->queue, e);
    next_is(f, PUBLISH_ACTION_PUBLISH, e);
    publish_queue_begun(&f->queue, e, true);
}

static void end(struct fixture *f, struct publish_entry *e, bool leaves_old)
{
    next_is(f, PUBLISH_ACTION_COMMIT, e);
    publish_queue_published(&f->queue, e, (struct publish_outcome){.leaves_old = leaves_old},
                            f->now);
}

/* A whole update; with @leaves_old it replaces an older one. */
static void publish(struct fixture *f, struct publish_entry *e, bool leaves_old)
{
    begin(f, e);
    end(f, e, leaves_old);
}

static void end_of_test(struct fixture *f, struct publish_entry *e)
{
    publish_queue_remove(&f->queue, e);
    next_is(f, PUBLISH_ACTION_REMOVE, e);
}

static void test_empty_queue_waits_for_requests(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    assert_true(publish_queue_is_empty(&f.queue));
    waits_until(&f, SPAN_FOREVER);
}

static void test_first_payload_is_published_and_leaves_nothing(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    publish(&f, &f.a, false);
    assert_int_equal(f.a.update, UPDATE_IDLE);
    assert_int_equal(f.a.old, OLD_NONE);
    assert_true(publish_queue_is_empty(&f.queue));
    waits_until(&f, SPAN_FOREVER);
}

static void test_submitted_twice_is_published_once(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    publish_queue_submit(&f.queue, &f.a); /* keeps its place */
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, true);
    end(&f, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, true);
    end(&f, &f.b, false);
    waits_until(&f, SPAN_FOREVER);
}

static void test_kinds_of_work_have_an_order(void **state)
{
    struct publish_entry removed, bound, drained, submitted, behind, cleaned;
    struct publish_entry *const all[] = {&removed, &bound, &drained, &submitted, &behind, &cleaned};
    struct fixture f;

    fixture_init(&f, false);
    for (size_t i = 0; i < ELEMENTS_OF(all); i++)
        publish_entry_init(all[i]);
    publish(&f, &cleaned, true);
    begin(&f, &drained);
    f.now += CLEAN_AFTER;
    publish_queue_catch_up(&f.queue, &behind, f.now);
    publish_queue_submit(&f.queue, &submitted);
    publish_queue_notify_scan(&f.queue);
    publish_queue_bind(&f.queue, &bound);
    publish_queue_remove(&f.queue, &removed);
    publish_queue_probe(&f.queue);

    next_is(&f, PUBLISH_ACTION_PROBE, NULL);
    next_is(&f, PUBLISH_ACTION_REMOVE, &removed);
    next_is(&f, PUBLISH_ACTION_BIND, &bound);
    end(&f, &drained, false);
    next_is(&f, PUBLISH_ACTION_SCAN, NULL);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &submitted);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &behind);
    next_is(&f, PUBLISH_ACTION_CLEAN, &cleaned);
    waits_until(&f, SPAN_FOREVER);
}

static void test_bindings_and_removals_keep_the_order_of_requests(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_bind(&f.queue, &f.b);
    publish_queue_bind(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_BIND, &f.b);
    next_is(&f, PUBLISH_ACTION_BIND, &f.a);
    publish_queue_bind(&f.queue, &f.a); /* and again */
    next_is(&f, PUBLISH_ACTION_BIND, &f.a);
    publish_queue_bind(&f.queue, &f.a);
    publish_queue_cancel_bind(&f.queue, &f.a);
    waits_until(&f, SPAN_FOREVER);
    publish_queue_remove(&f.queue, &f.b);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.b);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
}

/* ---- readers of live files */

static void test_draining_volume_lets_others_work(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    publish_queue_set_drain(&f.a, f.now + SPAN_MS(100));
    waits_until(&f, f.now + DRAIN_POLL);
    publish(&f, &f.b, false);
    publish_queue_submit(&f.queue, &f.a); /* waits for the end of the first one */
    waits_until(&f, f.now + DRAIN_POLL);
    f.now += SPAN_MS(100);
    end(&f, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    end_of_test(&f, &f.a);
}

static void test_drain_that_becomes_shorter_ends_early(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    publish_queue_set_drain(&f.a, f.now + SPAN_MS(100));
    waits_until(&f, f.now + DRAIN_POLL);
    publish_queue_set_drain(&f.a, 0);
    end(&f, &f.a, false);
}

static void test_update_that_leaves_files_out_catches_up(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    next_is(&f, PUBLISH_ACTION_COMMIT, &f.a);
    publish_queue_published(&f.queue, &f.a, (struct publish_outcome){.is_partial = true}, f.now);
    waits_until(&f, f.now + PUBLISH_CATCH_UP_AFTER);
    f.now += PUBLISH_CATCH_UP_AFTER;
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &f.a);
    assert_true(f.a.is_catching_up);
    publish_queue_begun(&f.queue, &f.a, true);
    next_is(&f, PUBLISH_ACTION_COMMIT, &f.a);
    publish_queue_caught_up(&f.queue, &f.a);
    assert_int_equal(f.a.old, OLD_NONE);
    waits_until(&f, SPAN_FOREVER);
}

static void test_volume_that_drains_does_not_catch_up(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    publish_queue_set_drain(&f.a, f.now + SPAN_MS(100));
    publish_queue_catch_up(&f.queue, &f.a, f.now);
    waits_until(&f, f.now + DRAIN_POLL);
    publish_queue_set_drain(&f.a, 0);
    end(&f, &f.a, false);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &f.a);
    publish_queue_begun(&f.queue, &f.a, false); /* nothing to do */
    waits_until(&f, SPAN_FOREVER);
}

static void test_catching_up_may_be_postponed_and_brought_forward(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_catch_up(&f.queue, &f.a, f.now + SPAN_SEC(1));
    publish_queue_catch_up(&f.queue, &f.b, f.now + SPAN_SEC(2));
    waits_until(&f, f.now + SPAN_SEC(1));
    publish_queue_catch_up(&f.queue, &f.a, f.now + SPAN_SEC(3));
    waits_until(&f, f.now + SPAN_SEC(2));
    publish_queue_catch_up(&f.queue, &f.a, f.now);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    waits_until(&f, f.now + SPAN_SEC(2));
    end_of_test(&f, &f.b);
}

/* ---- old generations */

static void test_old_generation_stays_for_its_readers(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    assert_int_equal(f.a.old, OLD_AWAITS_READERS);
    waits_until(&f, f.now + CLEAN_AFTER);
    f.now += CLEAN_AFTER - 1;
    waits_until(&f, f.now + 1);
    f.now++;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    assert_int_equal(f.a.n_old, 0);
    waits_until(&f, SPAN_FOREVER);
}

static void test_next_update_waits_for_readers_of_the_old_generation(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b); /* another volume does not wait */
    publish_queue_begun(&f.queue, &f.b, false);
    waits_until(&f, f.now + CLEAN_AFTER);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, true);
    end(&f, &f.a, true);
    end_of_test(&f, &f.a);
}

static void test_failed_cleaning_is_tried_again_and_delays_no_update(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, -ENOMEM, f.now);
    assert_int_equal(f.a.old, OLD_AWAITS_NEXT_TRY);
    waits_until(&f, f.now + SPAN_SEC(1));
    publish(&f, &f.a, true);
    assert_int_equal(f.a.n_old, 2);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, -ENOMEM, f.now);
    f.now += SPAN_SEC(1);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    waits_until(&f, SPAN_FOREVER);
}

static void test_cleaning_ends_with_the_mount(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, -ENOTCONN, f.now);
    waits_until(&f, SPAN_FOREVER);
}

static void test_failed_update_is_cleaned_up(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_submit(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    publish_queue_published(&f.queue, &f.a, (struct publish_outcome){.leaves_old = true}, f.now);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
}

static void test_volumes_are_cleaned_in_the_order_of_time(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, -ENOMEM, f.now); /* in a second */
    publish(&f, &f.b, true);                               /* in 10 ms */
    waits_until(&f, f.now + CLEAN_AFTER);
    f.now += SPAN_SEC(1);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.b);
    publish_queue_cleaned(&f.queue, &f.b, 0, f.now);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
}

static void test_old_generation_stays_until_mounts_were_scanned(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    publish_queue_set_scanned_at(&f.queue, f.now);
    publish(&f, &f.a, true);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_REQUEST_SCAN, &f.a);
    waits_until(&f, f.now + SCAN_POLL);
    f.now += SCAN_POLL;
    next_is(&f, PUBLISH_ACTION_REQUEST_SCAN, &f.a); /* it has not begun late enough */
    publish_queue_notify_scan(&f.queue);
    publish_queue_set_scanned_at(&f.queue, f.now);
    f.now += SCAN_POLL;
    next_is(&f, PUBLISH_ACTION_SCAN, NULL); /* before what it decides */
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    waits_until(&f, SPAN_FOREVER);
}

static void test_scan_that_is_there_is_not_requested(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    publish(&f, &f.a, true);
    f.now += CLEAN_AFTER;
    publish_queue_set_scanned_at(&f.queue, f.now);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
}

/* "old generations that stay for a scan of mounts: 16" (docs/design.md) */
static void test_update_waits_for_a_scan_only_with_many_old_generations(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    for (unsigned i = 1; i <= 16; i++) {
        publish(&f, &f.a, true);
        assert_int_equal(f.a.n_old, i);
        assert_int_equal(publish_queue_may_keep_old(&f.a), i < 16);
        f.now += CLEAN_AFTER;
        if (i < 16)
            next_is(&f, PUBLISH_ACTION_REQUEST_SCAN, &f.a);
    }
    publish_queue_submit(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a); /* unscanned, before the update */
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    assert_true(publish_queue_may_keep_old(&f.a));
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, true);
    end(&f, &f.a, true);
    assert_int_equal(f.a.n_old, 1);
    end_of_test(&f, &f.a);
}

/* ---- removal */

static void test_removal_drops_all_requests(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_bind(&f.queue, &f.a);
    publish_queue_catch_up(&f.queue, &f.a, f.now);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
    assert_true(publish_queue_is_empty(&f.queue));
    waits_until(&f, SPAN_FOREVER);
}

static void test_removal_of_a_draining_volume_ends_its_update(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    publish_queue_set_drain(&f.a, f.now + SPAN_MS(100));
    end_of_test(&f, &f.a);
    waits_until(&f, SPAN_FOREVER);
}

/* The loop removes a volume while the thread works on it. */
static void test_outcomes_after_the_removal_have_no_effect(void **state)
{
    struct publish_entry beginning, committing, catching_up, cleaning;
    struct fixture f;

    fixture_init(&f, false);
    publish_entry_init(&beginning);
    publish_entry_init(&committing);
    publish_entry_init(&catching_up);
    publish_entry_init(&cleaning);
    publish_queue_submit(&f.queue, &beginning);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &beginning);
    publish_queue_remove(&f.queue, &beginning);
    publish_queue_begun(&f.queue, &beginning, true);
    next_is(&f, PUBLISH_ACTION_REMOVE, &beginning);

    begin(&f, &committing);
    next_is(&f, PUBLISH_ACTION_COMMIT, &committing);
    publish_queue_remove(&f.queue, &committing);
    publish_queue_published(&f.queue, &committing,
                            (struct publish_outcome){.is_partial = true, .leaves_old = true},
                            f.now);
    next_is(&f, PUBLISH_ACTION_REMOVE, &committing);

    publish_queue_catch_up(&f.queue, &catching_up, f.now);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &catching_up);
    publish_queue_begun(&f.queue, &catching_up, true);
    next_is(&f, PUBLISH_ACTION_COMMIT, &catching_up);
    publish_queue_remove(&f.queue, &catching_up);
    publish_queue_caught_up(&f.queue, &catching_up);
    next_is(&f, PUBLISH_ACTION_REMOVE, &catching_up);

    publish(&f, &cleaning, true);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &cleaning);
    publish_queue_remove(&f.queue, &cleaning);
    publish_queue_cleaned(&f.queue, &cleaning, -ENOMEM, f.now);
    next_is(&f, PUBLISH_ACTION_REMOVE, &cleaning);
    waits_until(&f, SPAN_FOREVER);
}

static void test_failed_removal_is_tried_again(void **state)
{
    struct fixture f;

    fixture_init(&f, true);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
    publish_queue_removal_failed(&f.queue, &f.a, f.now);
    waits_until(&f, f.now + SPAN_SEC(1));
    f.now += SPAN_SEC(1);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
    waits_until(&f, SPAN_FOREVER);
}

static void test_removed_volumes_are_taken_at_the_end(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
    publish_queue_removal_failed(&f.queue, &f.a, f.now);
    publish_queue_remove(&f.queue, &f.b);
    assert_ptr_equal(publish_queue_take_removed(&f.queue), &f.b);
    assert_ptr_equal(publish_queue_take_removed(&f.queue), &f.a);
    assert_null(publish_queue_take_removed(&f.queue));
    assert_true(publish_queue_is_empty(&f.queue));
}

static void test_volume_that_becomes_ready_is_behind_those_that_are(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    publish_queue_submit(&f.queue, &f.a); /* its old generation stays for now */
    publish_queue_submit(&f.queue, &f.b);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
    f.now += CLEAN_AFTER;
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    publish_queue_submit(&f.queue, &f.b);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, true);
    end(&f, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
}

/* Each outcome that frees a volume for its next update. */
static void test_payload_that_comes_during_an_update_follows_it(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    begin(&f, &f.a);
    publish_queue_submit(&f.queue, &f.a);
    end(&f, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    publish_queue_catch_up(&f.queue, &f.a, f.now);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &f.a);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_begun(&f.queue, &f.a, true);
    next_is(&f, PUBLISH_ACTION_COMMIT, &f.a);
    publish_queue_caught_up(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    assert_true(publish_queue_is_empty(&f.queue));
}

#define STORM_VOLUMES     200000u
#define STORM_CPU_SECONDS 30u /* a list that is walked for each volume takes minutes */

/* SIGXCPU ends the process that uses more. Return: the limit until then. */
static struct rlimit limit_cpu(unsigned seconds)
{
    struct rlimit before, limit;
    struct rusage used;

    assert_int_equal(getrlimit(RLIMIT_CPU, &before), 0);
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + seconds;
    assert_int_equal(setrlimit(RLIMIT_CPU, &limit), 0);
    return before;
}

/* Two updates of each, the second while the old generations of the first stay. */
static void test_cost_of_a_storm_is_linear(void **state)
{
    struct publish_entry *volumes = calloc(STORM_VOLUMES, sizeof(*volumes));
    struct rlimit before = limit_cpu(STORM_CPU_SECONDS);
    struct fixture f;

    assert_non_null(volumes);
    fixture_init(&f, false);
    for (size_t i = 0; i < STORM_VOLUMES; i++) {
        publish_entry_init(&volumes[i]);
        publish(&f, &volumes[i], true);
        publish_queue_submit(&f.queue, &volumes[i]);
        waits_until(&f, f.now + CLEAN_AFTER);
    }
    f.now += CLEAN_AFTER;
    for (size_t i = 0; i < STORM_VOLUMES; i++) {
        next_is(&f, PUBLISH_ACTION_CLEAN, &volumes[i]);
        publish_queue_cleaned(&f.queue, &volumes[i], 0, f.now);
        next_is(&f, PUBLISH_ACTION_PUBLISH, &volumes[i]);
        publish_queue_begun(&f.queue, &volumes[i], true);
        end(&f, &volumes[i], false);
    }
    assert_true(publish_queue_is_empty(&f.queue));
    assert_int_equal(setrlimit(RLIMIT_CPU, &before), 0);
    free(volumes);
}

/* ---- more than one thread */

/* Without next_is(), which ends each step at once. */
static struct publish_entry *next_entry(struct fixture *f, enum publish_action action)
{
    struct publish_step step = publish_queue_next(&f->queue, f->now);

    assert_int_equal(step.action, action);
    return step.entry;
}

static void test_busy_volume_is_passed_over(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    assert_ptr_equal(next_entry(&f, PUBLISH_ACTION_PUBLISH), &f.a);
    publish_queue_bind(&f.queue, &f.a);
    publish_queue_follow(&f.queue, &f.a);
    publish_queue_catch_up(&f.queue, &f.a, f.now);
    publish_queue_submit(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
    waits_until(&f, SPAN_FOREVER);
    publish_queue_done(&f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    next_is(&f, PUBLISH_ACTION_BIND, &f.a);
    next_is(&f, PUBLISH_ACTION_FOLLOW, &f.a);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    next_is(&f, PUBLISH_ACTION_CATCH_UP, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
}

static void test_busy_volume_is_removed_and_cleaned_later(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish(&f, &f.a, true);
    publish(&f, &f.b, true);
    f.now += CLEAN_AFTER;
    assert_ptr_equal(next_entry(&f, PUBLISH_ACTION_CLEAN), &f.a);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_CLEAN, &f.b);
    publish_queue_cleaned(&f.queue, &f.b, 0, f.now);
    waits_until(&f, SPAN_FOREVER);
    publish_queue_done(&f.a);
    publish_queue_cleaned(&f.queue, &f.a, 0, f.now);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
}

static void test_suspects_wait_while_no_thread_is_left(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_suspect(&f.a, f.now);
    assert_true(publish_queue_is_suspect(&f.a, f.now));
    assert_false(publish_queue_is_suspect(&f.b, f.now));
    publish_queue_defer(&f.queue, true, false);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
    waits_until(&f, SPAN_FOREVER);
    publish_queue_defer(&f.queue, false, true);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    f.now += SPAN_SEC(600);
    assert_false(publish_queue_is_suspect(&f.a, f.now));
}

static void test_commit_that_waits_for_other_volumes_is_held_up(void **state)
{
    struct publish_group group = {.n_blocked = 0};
    struct fixture f;

    fixture_init(&f, false);
    f.a.group = &group;
    publish_queue_suspect(&f.b, f.now);
    begin(&f, &f.a);
    publish_queue_set_drain(&f.a, f.now + 1);
    begin(&f, &f.b);
    f.now++;
    assert_false(publish_queue_is_held_up(&f.queue, &f.a, f.now));
    assert_false(publish_queue_is_held_up(&f.queue, &f.b, f.now));
    group.n_blocked = 1;
    publish_queue_defer(&f.queue, true, true);
    assert_true(publish_queue_is_held_up(&f.queue, &f.a, f.now));
    assert_true(publish_queue_is_held_up(&f.queue, &f.b, f.now));
    waits_until(&f, SPAN_FOREVER);
    group.n_blocked = 0;
    publish_queue_defer(&f.queue, false, false);
    assert_false(publish_queue_is_held_up(&f.queue, &f.a, f.now));
    assert_false(publish_queue_is_held_up(&f.queue, &f.b, f.now));
    end(&f, &f.a, false);
    end(&f, &f.b, false);
}

static void test_slow_volumes_wait_while_their_threads_are_busy(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_slow(&f.a, f.now);
    assert_true(publish_queue_is_slow(&f.a, f.now));
    assert_false(publish_queue_is_suspect(&f.a, f.now));
    publish_queue_defer(&f.queue, true, true);
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
    waits_until(&f, SPAN_FOREVER);
    publish_queue_defer(&f.queue, true, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    f.now += SPAN_SEC(30);
    assert_false(publish_queue_is_slow(&f.a, f.now));
}

static void test_volumes_of_a_group_wait_for_its_blocked_thread(void **state)
{
    struct publish_group group = {.n_blocked = 0};
    struct fixture f;

    fixture_init(&f, false);
    f.a.group = &group;
    f.b.group = &group;
    publish_queue_submit(&f.queue, &f.a);
    publish_queue_submit(&f.queue, &f.b);
    assert_ptr_equal(next_entry(&f, PUBLISH_ACTION_PUBLISH), &f.a);
    group.n_blocked = 1;
    waits_until(&f, SPAN_FOREVER);
    group.n_blocked = 0;
    publish_queue_done(&f.a);
    publish_queue_begun(&f.queue, &f.a, false);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
}

static void test_what_a_scan_found_follows_before_updates(void **state)
{
    struct fixture f;

    fixture_init(&f, false);
    publish_queue_submit(&f.queue, &f.b);
    publish_queue_follow(&f.queue, &f.a);
    publish_queue_follow(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_FOLLOW, &f.a);
    publish_queue_follow(&f.queue, &f.a);
    publish_queue_remove(&f.queue, &f.a);
    next_is(&f, PUBLISH_ACTION_REMOVE, &f.a);
    next_is(&f, PUBLISH_ACTION_PUBLISH, &f.b);
    publish_queue_begun(&f.queue, &f.b, false);
    waits_until(&f, SPAN_FOREVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_queue_waits_for_requests),
        cmocka_unit_test(test_first_payload_is_published_and_leaves_nothing),
        cmocka_unit_test(test_submitted_twice_is_published_once),
        cmocka_unit_test(test_kinds_of_work_have_an_order),
        cmocka_unit_test(test_bindings_and_removals_keep_the_order_of_requests),
        cmocka_unit_test(test_draining_volume_lets_others_work),
        cmocka_unit_test(test_drain_that_becomes_shorter_ends_early),
        cmocka_unit_test(test_update_that_leaves_files_out_catches_up),
        cmocka_unit_test(test_volume_that_drains_does_not_catch_up),
        cmocka_unit_test(test_catching_up_may_be_postponed_and_brought_forward),
        cmocka_unit_test(test_old_generation_stays_for_its_readers),
        cmocka_unit_test(test_next_update_waits_for_readers_of_the_old_generation),
        cmocka_unit_test(test_failed_cleaning_is_tried_again_and_delays_no_update),
        cmocka_unit_test(test_cleaning_ends_with_the_mount),
        cmocka_unit_test(test_failed_update_is_cleaned_up),
        cmocka_unit_test(test_volumes_are_cleaned_in_the_order_of_time),
        cmocka_unit_test(test_old_generation_stays_until_mounts_were_scanned),
        cmocka_unit_test(test_scan_that_is_there_is_not_requested),
        cmocka_unit_test(test_update_waits_for_a_scan_only_with_many_old_generations),
        cmocka_unit_test(test_removal_drops_all_requests),
        cmocka_unit_test(test_removal_of_a_draining_volume_ends_its_update),
        cmocka_unit_test(test_outcomes_after_the_removal_have_no_effect),
        cmocka_unit_test(test_failed_removal_is_tried_again),
        cmocka_unit_test(test_removed_volumes_are_taken_at_the_end),
        cmocka_unit_test(test_volume_that_becomes_ready_is_behind_those_that_are),
        cmocka_unit_test(test_payload_that_comes_during_an_update_follows_it),
        cmocka_unit_test(test_cost_of_a_storm_is_linear),
        cmocka_unit_test(test_busy_volume_is_passed_over),
        cmocka_unit_test(test_busy_volume_is_removed_and_cleaned_later),
        cmocka_unit_test(test_suspects_wait_while_no_thread_is_left),
        cmocka_unit_test(test_commit_that_waits_for_other_volumes_is_held_up),
        cmocka_unit_test(test_slow_volumes_wait_while_their_threads_are_busy),
        cmocka_unit_test(test_volumes_of_a_group_wait_for_its_blocked_thread),
        cmocka_unit_test(test_what_a_scan_found_follows_before_updates),
    };

    return cmocka_run_group_tests_name("publish_queue", tests, NULL, NULL);
}
