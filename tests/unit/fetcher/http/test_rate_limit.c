/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOON SPAN_SEC(43200)

/* Return: how many requests are admitted in @span to a caller that retries as soon as it may. */
static unsigned count(struct rate_limit *limit, mono_us *now, span_us span)
{
    mono_us end = *now + span;
    unsigned n = 0;

    while (*now < end) {
        span_us wait = rate_limit_take(limit, *now);

        n += wait == 0;
        *now += wait;
    }
    return n;
}

static void burst_and_then_evenly(void **state)
{
    struct rate_limit limit;
    mono_us now = NOON;

    rate_limit_init(&limit, 10, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rate_limit_take(&limit, now), 0);
    assert_int_equal(rate_limit_take(&limit, now), SPAN_MS(100));
    assert_int_equal(rate_limit_take(&limit, now + SPAN_MS(60)),
                     SPAN_MS(40)); /* a refused request does not count */
    assert_int_equal(count(&limit, &now, SPAN_SEC(2)), 19);
    now += SPAN_SEC(60); /* without requests, which allow one burst and no more */
    for (int i = 0; i < 5; i++)
        assert_int_equal(rate_limit_take(&limit, now), 0);
    assert_int_equal(rate_limit_take(&limit, now), SPAN_MS(100));
}

static void no_limit(void **state)
{
    struct rate_limit limit;

    rate_limit_init(&limit, 0, 0);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(rate_limit_take(&limit, NOON), 0);
    rate_limit_pause(&limit, NOON, SPAN_SEC(1)); /* without a limit the server's pause counts */
    assert_int_equal(rate_limit_take(&limit, NOON + 1), SPAN_SEC(1) - 1);
    assert_int_equal(rate_limit_take(&limit, NOON + SPAN_SEC(1)), 0);
}

static void evenly_after_a_rest(void **state)
{
    struct rate_limit limit;
    mono_us now = NOON;

    rate_limit_init(&limit, 10, 100);
    assert_int_equal(rate_limit_take(&limit, now), 0);
    rate_limit_pause(&limit, now, SPAN_SEC(7));
    rate_limit_pause(&limit, now, SPAN_SEC(1)); /* a shorter pause has no effect */
    assert_int_equal(rate_limit_take(&limit, now), SPAN_SEC(7));
    assert_int_equal(rate_limit_pause_left(&limit, now), SPAN_SEC(7));
    now += SPAN_SEC(7);
    assert_int_equal(rate_limit_pause_left(&limit, now), 0);
    assert_int_equal(rate_limit_take(&limit, now), 0);
    assert_int_equal(rate_limit_take(&limit, now), SPAN_MS(100));
    assert_int_equal(count(&limit, &now, SPAN_SEC(5)), 49);
}

static void least(void **state)
{
    struct rate_limit limit;

    rate_limit_init(&limit, 1, 0); /* a burst of none would be no request at all */
    assert_int_equal(rate_limit_take(&limit, NOON), 0);
    assert_int_equal(rate_limit_take(&limit, NOON), SPAN_SEC(1));
    rate_limit_init(&limit, 1000000, 1);
    assert_int_equal(rate_limit_take(&limit, NOON), 0);
    assert_int_equal(rate_limit_take(&limit, NOON), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_and_then_evenly),
        cmocka_unit_test(no_limit),
        cmocka_unit_test(evenly_after_a_rest),
        cmocka_unit_test(least),
    };

    return cmocka_run_group_tests_name("rate_limit", tests, NULL, NULL);
}
