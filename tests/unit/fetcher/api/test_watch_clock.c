/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/watch_clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

#define LATER SPAN_SEC(3600)

struct fixture {
    sd_event *event;
    struct watch_clock clock;
    unsigned n_elapsed;
    span_us again; /* what elapsed() sets; 0: nothing */
};

static void on_elapsed(void *userdata)
{
    struct fixture *f = userdata;

    f->n_elapsed++;
    if (f->again != 0)
        watch_clock_set(&f->clock, f->again);
}

static int set_up(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    assert_true(sd_event_new(&f.event) >= 0);
    assert_int_equal(watch_clock_init(&f.clock, f.event, on_elapsed, &f), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    watch_clock_deinit(&f->clock);
    f->event = sd_event_unref(f->event);
    return 0;
}

static void run_until(struct fixture *f, unsigned n_elapsed)
{
    while (f->n_elapsed < n_elapsed)
        assert_true(sd_event_run(f->event, LATER) >= 0);
}

/* Until no event comes for several times the timer's slack. */
static void run_due(struct fixture *f)
{
    while (sd_event_run(f->event, SPAN_MS(5)) > 0)
        ;
}

static void timer_is_off_at_first(void **state)
{
    struct fixture *f = *state;

    run_due(f);
    assert_int_equal(f->n_elapsed, 0);
}

static void timer_elapses_once(void **state)
{
    struct fixture *f = *state;

    watch_clock_set(&f->clock, 0);
    run_until(f, 1);
    run_due(f);
    assert_int_equal(f->n_elapsed, 1);
    watch_clock_set(&f->clock, SPAN_MS(1));
    run_until(f, 2);
}

static void last_delay_that_was_set_counts(void **state)
{
    struct fixture *f = *state;

    watch_clock_set(&f->clock, 0);
    watch_clock_set(&f->clock, LATER);
    run_due(f);
    assert_int_equal(f->n_elapsed, 0);
    watch_clock_set(&f->clock, 0);
    watch_clock_set(&f->clock, SPAN_FOREVER);
    run_due(f);
    assert_int_equal(f->n_elapsed, 0);
}

static void timer_set_as_it_elapses(void **state)
{
    struct fixture *f = *state;

    f->again = SPAN_MS(1);
    watch_clock_set(&f->clock, 0);
    run_until(f, 3);
}

static void time_is_monotonic_and_numbers_differ(void **state)
{
    mono_us before = clock_mono();
    uint32_t first = watch_clock_random(NULL);
    unsigned n_same = 0;

    assert_true(watch_clock_now(NULL) >= before);
    for (int i = 0; i < 8; i++)
        n_same += watch_clock_random(NULL) == first;
    assert_true(n_same < 8);
}

static int init_and_deinit(void *userdata)
{
    sd_event *event = userdata;
    struct watch_clock clock;
    int r = watch_clock_init(&clock, event, on_elapsed, NULL);

    watch_clock_deinit(&clock);
    return r;
}

static void out_of_memory(void **state)
{
    struct fixture *f = *state;

    failmalloc_try(init_and_deinit, f->event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timer_is_off_at_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(timer_elapses_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(last_delay_that_was_set_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(timer_set_as_it_elapses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_of_memory, set_up, tear_down),
        cmocka_unit_test(time_is_monotonic_and_numbers_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
