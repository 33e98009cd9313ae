/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of a publisher, on a clock of the test's own. */
#include "fuse/publisher_pool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW SPAN_SEC(100)

static void begin(struct publisher_pool *pool, struct publisher_member *m,
                  enum publisher_step_kind kind)
{
    publisher_pool_begin(pool, m, kind, NOW);
}

static enum publisher_member_state end(struct publisher_pool *pool, struct publisher_member *m)
{
    bool stays = publisher_pool_end(pool, m, NOW);

    assert_int_equal(stays, m->state != MEMBER_ENDED);
    return m->state;
}

/* A pool whose only thread works on a step. */
static void begin_first(struct publisher_pool *pool, struct publisher_member *m,
                        enum publisher_step_kind kind)
{
    publisher_pool_init(pool);
    publisher_pool_add(pool, m);
    begin(pool, m, kind);
}

/* A pool with a thread that leads and one that stands by. */
static void make_two(struct publisher_pool *pool, struct publisher_member *standby,
                     struct publisher_member *leader)
{
    begin_first(pool, standby, PUBLISHER_STEP_SLOW);
    publisher_pool_add(pool, leader);
    assert_int_equal(end(pool, standby), MEMBER_STANDBY);
}

static void test_step_that_ends_keeps_the_lead(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &a);
    assert_false(publisher_pool_needs_leader(&pool));
    begin(&pool, &a, PUBLISHER_STEP_USUAL);
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER - 1));
    assert_int_equal(end(&pool, &a), MEMBER_LEADING);
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER)); /* it waits for work */
    assert_false(publisher_pool_has_blocked(&pool));
    publisher_pool_remove(&pool, &a);
    assert_true(publisher_pool_needs_leader(&pool));
}

static void test_blocked_thread_is_replaced_and_stands_by(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    begin_first(&pool, &a, PUBLISHER_STEP_USUAL);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &a);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &b);
    assert_true(publisher_pool_has_blocked(&pool));
    begin(&pool, &b, PUBLISHER_STEP_USUAL);
    assert_int_equal(end(&pool, &a), MEMBER_STANDBY);
    assert_int_equal(end(&pool, &b), MEMBER_LEADING);
    assert_false(publisher_pool_has_blocked(&pool));
}

static void test_blocked_thread_takes_the_lead_that_is_free(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    begin_first(&pool, &a, PUBLISHER_STEP_USUAL);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &a);
    assert_int_equal(end(&pool, &a), MEMBER_LEADING);
    assert_false(publisher_pool_needs_leader(&pool));
}

static void test_suspect_gives_up_the_lead_at_once(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    begin_first(&pool, &a, PUBLISHER_STEP_SUSPECT);
    assert_int_equal(a.state, MEMBER_BLOCKED);
    assert_true(publisher_pool_needs_leader(&pool));
    publisher_pool_add(&pool, &b);
    assert_int_equal(end(&pool, &a), MEMBER_STANDBY);
}

static void test_thread_that_stands_by_takes_the_lead_of_a_slow_step(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    publisher_pool_add(&pool, &a);
    assert_false(publisher_pool_take_probe(&a));
    begin(&pool, &a, PUBLISHER_STEP_SLOW);
    publisher_pool_add(&pool, &b);
    assert_true(publisher_pool_take_probe(&b));
    assert_false(publisher_pool_take_probe(&b));
    assert_int_equal(end(&pool, &a), MEMBER_STANDBY);
    begin(&pool, &b, PUBLISHER_STEP_SLOW);
    assert_false(publisher_pool_needs_leader(&pool));
    assert_int_equal(a.state, MEMBER_LEADING);
    assert_false(publisher_pool_take_probe(&a));
    assert_int_equal(end(&pool, &b), MEMBER_STANDBY);
}

/* The workers may hang: see publisher_pool.c. */
static void test_thread_that_takes_the_lead_of_a_blocked_one_probes(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    make_two(&pool, &a, &b);
    begin(&pool, &b, PUBLISHER_STEP_USUAL);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &b);
    assert_false(publisher_pool_needs_leader(&pool));
    assert_int_equal(a.state, MEMBER_LEADING);
    assert_true(publisher_pool_take_probe(&a));
}

static void test_thread_stands_by_for_half_a_minute(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    make_two(&pool, &a, &b);
    assert_false(publisher_pool_expire(&pool, &b, NOW + SPAN_SEC(30))); /* it leads */
    assert_false(publisher_pool_expire(&pool, &a, NOW + SPAN_SEC(30) - 1));
    assert_true(publisher_pool_expire(&pool, &a, NOW + SPAN_SEC(30)));
    assert_int_equal(a.state, MEMBER_ENDED);
    begin(&pool, &b, PUBLISHER_STEP_SLOW);
    assert_true(publisher_pool_needs_leader(&pool));
}

static void test_thread_that_stands_by_can_be_removed(void **state)
{
    struct publisher_member a, b;
    struct publisher_pool pool;

    make_two(&pool, &a, &b);
    publisher_pool_remove(&pool, &a);
    begin(&pool, &b, PUBLISHER_STEP_SLOW);
    assert_true(publisher_pool_needs_leader(&pool));
}

/* "threads that stand by: 4" (docs/design.md) */
static void test_number_of_threads_that_stand_by_is_limited(void **state)
{
    struct publisher_member all[6];
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    for (size_t i = 0; i < 5; i++) {
        publisher_pool_add(&pool, &all[i]);
        begin(&pool, &all[i], PUBLISHER_STEP_SUSPECT);
    }
    publisher_pool_add(&pool, &all[5]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(end(&pool, &all[i]), MEMBER_STANDBY);
    assert_int_equal(end(&pool, &all[4]), MEMBER_ENDED);
}

/* Then the FUSE workers hang, and another thread would hang as well. */
static void test_step_outside_of_volumes_is_not_replaced(void **state)
{
    struct publisher_member a;
    struct publisher_pool pool;

    begin_first(&pool, &a, PUBLISHER_STEP_OUTSIDE);
    assert_null(publisher_pool_check(&pool, NOW + SPAN_SEC(100)));
    assert_int_equal(end(&pool, &a), MEMBER_LEADING);
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
        begin(&pool, &all[i], i % 2 == 0 ? PUBLISHER_STEP_SUSPECT : PUBLISHER_STEP_USUAL);
        if (i % 2 != 0)
            assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &all[i]);
    }
    assert_true(publisher_pool_is_full(&pool));
    publisher_pool_add(&pool, &all[64]);
    begin(&pool, &all[64], PUBLISHER_STEP_SUSPECT); /* keeps the lead */
    assert_false(publisher_pool_needs_leader(&pool));
    assert_null(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER));
    assert_int_equal(end(&pool, &all[7]), MEMBER_STANDBY);
    assert_ptr_equal(publisher_pool_check(&pool, NOW + PUBLISHER_BLOCKED_AFTER), &all[64]);
    assert_int_equal(all[7].state, MEMBER_LEADING); /* and no further thread is needed */
}

/* "threads of a publisher for slow volumes: 4" (docs/design.md) */
static void test_steps_of_slow_volumes_leave_the_lead(void **state)
{
    struct publisher_member slow[4], usual;
    struct publisher_pool pool;

    assert_int_equal(ELEMENTS_OF(slow), PUBLISHER_SLOW_MAX);
    publisher_pool_init(&pool);
    for (size_t i = 0; i < ELEMENTS_OF(slow); i++) {
        assert_false(publisher_pool_is_full_of_slow(&pool));
        publisher_pool_add(&pool, &slow[i]);
        begin(&pool, &slow[i], PUBLISHER_STEP_SLOW);
        assert_true(publisher_pool_needs_leader(&pool));
    }
    assert_true(publisher_pool_is_full_of_slow(&pool));
    assert_false(publisher_pool_is_full(&pool));
    publisher_pool_add(&pool, &usual);
    begin(&pool, &usual, PUBLISHER_STEP_USUAL);
    assert_int_equal(end(&pool, &usual), MEMBER_LEADING);
    assert_int_equal(end(&pool, &slow[2]), MEMBER_STANDBY);
    assert_false(publisher_pool_is_full_of_slow(&pool));
    publisher_pool_remove(&pool, &slow[2]);
    begin(&pool, &usual, PUBLISHER_STEP_SLOW);
    assert_true(publisher_pool_needs_leader(&pool));
    assert_int_equal(end(&pool, &slow[0]), MEMBER_LEADING); /* the lead was free */
    assert_false(publisher_pool_is_full_of_slow(&pool));
    begin(&pool, &slow[0], PUBLISHER_STEP_USUAL);
    assert_int_equal(end(&pool, &slow[0]), MEMBER_LEADING);
}

/* It would keep the place of other slow volumes for as long as it is blocked. */
static void test_blocked_step_of_a_slow_volume_gives_up_its_place(void **state)
{
    struct publisher_member slow[PUBLISHER_SLOW_MAX], usual;
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    for (size_t i = 0; i < ELEMENTS_OF(slow); i++) {
        publisher_pool_add(&pool, &slow[i]);
        begin(&pool, &slow[i], PUBLISHER_STEP_SLOW);
    }
    assert_true(publisher_pool_note_blocked(&pool, &slow[0]));
    assert_false(publisher_pool_is_full_of_slow(&pool));
    assert_false(publisher_pool_note_blocked(&pool, &slow[0]));
    assert_false(publisher_pool_note_blocked(&pool, &slow[1])); /* there was a place already */
    publisher_pool_add(&pool, &usual);
    begin(&pool, &usual, PUBLISHER_STEP_USUAL);
    assert_false(publisher_pool_note_blocked(&pool, &usual));
    for (size_t i = 0; i < ELEMENTS_OF(slow); i++)
        assert_int_equal(end(&pool, &slow[i]), MEMBER_STANDBY);
    assert_int_equal(end(&pool, &usual), MEMBER_LEADING);
    assert_false(publisher_pool_has_blocked(&pool));
    assert_false(publisher_pool_is_full_of_slow(&pool));
}

/* With no thread left to lead in its place. */
static void test_step_of_a_slow_volume_keeps_the_lead_in_a_full_pool(void **state)
{
    struct publisher_member all[PUBLISHER_THREADS_MAX];
    struct publisher_pool pool;

    publisher_pool_init(&pool);
    for (size_t i = 0; i < PUBLISHER_BLOCKED_MAX; i++) {
        publisher_pool_add(&pool, &all[i]);
        begin(&pool, &all[i], PUBLISHER_STEP_SUSPECT);
    }
    publisher_pool_add(&pool, &all[PUBLISHER_BLOCKED_MAX]);
    begin(&pool, &all[PUBLISHER_BLOCKED_MAX], PUBLISHER_STEP_SLOW);
    assert_false(publisher_pool_needs_leader(&pool));
    assert_int_equal(end(&pool, &all[PUBLISHER_BLOCKED_MAX]), MEMBER_LEADING);
    assert_true(publisher_pool_is_full(&pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_that_ends_keeps_the_lead),
        cmocka_unit_test(test_blocked_thread_is_replaced_and_stands_by),
        cmocka_unit_test(test_blocked_thread_takes_the_lead_that_is_free),
        cmocka_unit_test(test_suspect_gives_up_the_lead_at_once),
        cmocka_unit_test(test_thread_that_stands_by_takes_the_lead_of_a_slow_step),
        cmocka_unit_test(test_thread_that_takes_the_lead_of_a_blocked_one_probes),
        cmocka_unit_test(test_thread_stands_by_for_half_a_minute),
        cmocka_unit_test(test_thread_that_stands_by_can_be_removed),
        cmocka_unit_test(test_number_of_threads_that_stand_by_is_limited),
        cmocka_unit_test(test_step_outside_of_volumes_is_not_replaced),
        cmocka_unit_test(test_number_of_blocked_threads_is_limited),
        cmocka_unit_test(test_steps_of_slow_volumes_leave_the_lead),
        cmocka_unit_test(test_blocked_step_of_a_slow_volume_gives_up_its_place),
        cmocka_unit_test(test_step_of_a_slow_volume_keeps_the_lead_in_a_full_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
