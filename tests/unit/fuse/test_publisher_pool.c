/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of a publisher, on a clock of the test's own. */
#include "fuse/publisher_pool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW SPAN_SEC(100)

static void begin(struct publisher_pool *pool, struct publisher_member *m, bool is_suspect)
{
    publisher_pool_begin(pool, m, true, is_suspect, NOW);
}

static void test_step_that_ends_keeps_the_lead(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &a);
    assert_false(publisher_pool_needs_leader(&pool));
    begin(&pool, &a, false);
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER - 1));
    assert_true(publisher_pool_end(&pool, &a));
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER)); /* it waits for work */
    assert_false(publisher_pool_has_blocked(&pool));
    publisher_pool_remove(&pool, &a);
    assert_true(publisher_pool_needs_leader(&pool));
}

static void test_blocked_thread_is_replaced_and_ends(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    publisher_pool_add(&pool, &a);
    begin(&pool, &a, false);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &a);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &b);
    assert_true(publisher_pool_has_blocked(&pool));
    begin(&pool, &b, false);
    assert_false(publisher_pool_end(&pool, &a));
    assert_int_equal(a.state, MEMBER_ENDED);
    publisher_pool_remove(&pool, &a);
    assert_true(publisher_pool_end(&pool, &b));
    assert_false(publisher_pool_has_blocked(&pool));
}

static void test_blocked_thread_takes_the_lead_that_is_free(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    publisher_pool_add(&pool, &a);
    begin(&pool, &a, false);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &a);
    assert_true(publisher_pool_end(&pool, &a));
    assert_false(publisher_pool_needs_leader(&pool));
    assert_int_equal(a.state, MEMBER_LEADING);
}

static void test_suspect_gives_up_the_lead_at_once(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    publisher_pool_add(&pool, &a);
    begin(&pool, &a, true);
    assert_int_equal(a.state, MEMBER_BLOCKED);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &b);
    assert_false(publisher_pool_end(&pool, &a));
}

/* Then the FUSE workers hang, and another thread would hang as well. */
static void test_step_outside_of_volumes_is_not_replaced(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    publisher_pool_add(&pool, &a);
    publisher_pool_begin(&pool, &a, false, false, NOW);
    assert_null(publisher_pool_check(&pool, NOW + SPAN_SEC(100)));
    assert_true(publisher_pool_end(&pool, &a));
}

/* "blocked threads of a publisher: 64" (docs/design.md) */
static void test_number_of_blocked_threads_is_limited(void **state)
{
    struct publisher_member all[65];
    struct publisher_pool pool;

    assert_int_equal(ELEMENTS_OF(all), PUBLISHER_THREADS_MAX);
    publisher_pool_init(&pool);
    for (size_t i = 0; i < 64; i++) {
        assert_false(publisher_pool_is_full(&pool));
        publisher_pool_add(&pool, &all[i]);
        begin(&pool, &all[i], i % 2 == 0);
        if (i % 2 != 0)
            assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &all[i]);
    }
    assert_true(publisher_pool_is_full(&pool));
    publisher_pool_add(&pool, &all[64]);
    begin(&pool, &all[64], true); /* keeps the lead */
    assert_false(publisher_pool_needs_leader(&pool));
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER));
    assert_false(publisher_pool_end(&pool, &all[7]));
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &all[64]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_that_ends_keeps_the_lead),
        cmocka_unit_test(test_blocked_thread_is_replaced_and_ends),
        cmocka_unit_test(test_blocked_thread_takes_the_lead_that_is_free),
        cmocka_unit_test(test_suspect_gives_up_the_lead_at_once),
        cmocka_unit_test(test_step_outside_of_volumes_is_not_replaced),
        cmocka_unit_test(test_number_of_blocked_threads_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
