/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"

static const span_us bases[] = {
    SPAN_MS(800),   SPAN_MS(1600),  SPAN_MS(3200), SPAN_MS(6400),
    SPAN_MS(12800), SPAN_MS(25600), SPAN_SEC(30),  SPAN_SEC(30),
};

/* J11: each wait is at least its base and less than twice of it. */
static void test_doubles_to_its_end(void **state)
{
    struct backoff least = {0}, most = {0};
    mono_us now = 1;

    for (size_t i = 0; i < ELEMENTS_OF(bases); i++) {
        span_us longest = backoff_next(&most, now, UINT32_MAX, 0);

        assert_int_equal(backoff_next(&least, now, 0, 0), bases[i]);
        assert_between(longest, 2 * bases[i] - 2, 2 * bases[i] - 1);
        now += longest;
    }
}

static void test_resets_after_quiet(void **state)
{
    struct backoff b = {0};
    mono_us now = SPAN_SEC(1000);

    assert_int_equal(backoff_next(&b, now, 0, 0), bases[0]);
    now += BACKOFF_QUIET_RESET;
    assert_int_equal(backoff_next(&b, now, 0, 0), bases[1]);
    now += BACKOFF_QUIET_RESET + 1;
    assert_int_equal(backoff_next(&b, now, 0, 0), bases[0]);
}

static void test_server_may_ask_for_more(void **state)
{
    struct backoff b = {0};

    assert_int_equal(backoff_next(&b, 1, 0, SPAN_SEC(7)), SPAN_SEC(7));
    assert_int_equal(backoff_next(&b, 1, 0, SPAN_MS(5)), bases[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_to_its_end),
        cmocka_unit_test(test_resets_after_quiet),
        cmocka_unit_test(test_server_may_ask_for_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
