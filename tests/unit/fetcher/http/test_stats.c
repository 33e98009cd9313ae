/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void test_counts_each_status(void **state)
{
    struct http_stats stats = {.n_codes = 0};

    http_stats_count(&stats, 200);
    http_stats_count(&stats, 0);
    http_stats_count(&stats, 200);
    assert_int_equal(stats.n_codes, 2);
    assert_int_equal(stats.codes[0].status, 200);
    assert_int_equal(stats.codes[0].n, 2);
    assert_int_equal(stats.codes[1].status, 0);
    assert_int_equal(stats.codes[1].n, 1);
}

static void test_status_above_the_limit_is_not_counted(void **state)
{
    struct http_stats stats = {.n_codes = 0};

    for (int i = 0; i <= HTTP_STATS_CODES_MAX; i++)
        http_stats_count(&stats, 200 + i);
    assert_int_equal(stats.n_codes, HTTP_STATS_CODES_MAX);
    http_stats_count(&stats, 200);
    assert_int_equal(stats.codes[0].n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_each_status),
        cmocka_unit_test(test_status_above_the_limit_is_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
