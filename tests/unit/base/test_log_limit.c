/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log_limit.h"

#define NOT_ALLOWED 99 /* in the place of a number of lines left out */

static size_t ask(struct log_limit *limit, mono_us now)
{
    size_t dropped;

    return log_limit_allow(limit, now, &dropped) ? dropped : NOT_ALLOWED;
}

static void test_few_lines_are_all_allowed(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(3, SPAN_SEC(10));

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(&limit, SPAN_SEC(1)), 0);
}

static void test_many_are_counted_instead(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(2, SPAN_SEC(10));

    assert_int_equal(ask(&limit, SPAN_SEC(1)), 0);
    assert_int_equal(ask(&limit, SPAN_SEC(2)), 0);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(ask(&limit, SPAN_SEC(3)), NOT_ALLOWED);
    /* the period began with the first line */
    assert_int_equal(ask(&limit, SPAN_SEC(11) - 1), NOT_ALLOWED);
    assert_int_equal(ask(&limit, SPAN_SEC(11)), 6);
    assert_int_equal(ask(&limit, SPAN_SEC(11)), 0);
    assert_int_equal(ask(&limit, SPAN_SEC(11)), NOT_ALLOWED);
}

static void test_clock_that_begins_at_zero(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(1, SPAN_SEC(10));

    assert_int_equal(ask(&limit, 0), 0);
    assert_int_equal(ask(&limit, 1), NOT_ALLOWED);
    assert_int_equal(ask(&limit, SPAN_SEC(10)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_lines_are_all_allowed),
        cmocka_unit_test(test_many_are_counted_instead),
        cmocka_unit_test(test_clock_that_begins_at_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
