/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keeper/state.h"

static void test_a_life(void **state)
{
    static const struct {
        enum keeper_event event;
        enum keeper_state next;
    } steps[] = {
        {KEEPER_ON_READY, KEEPER_READY},        {KEEPER_ON_READY, KEEPER_SAME},
        {KEEPER_ON_TIMEOUT, KEEPER_ABORTING},   {KEEPER_ON_READY, KEEPER_SAME},
        {KEEPER_ON_STOPPING, KEEPER_SAME}, /* the watchdog's end is no stop */
        {KEEPER_ON_TIMEOUT, KEEPER_SAME},  /* it is killed */
        {KEEPER_ON_END, KEEPER_WAITING},   /* and comes back with any status */
        {KEEPER_ON_TIMEOUT, KEEPER_STARTING},   {KEEPER_ON_FAILURE, KEEPER_WAITING},
        {KEEPER_ON_HAND_OVER, KEEPER_STARTING}, /* no need to wait any longer */
        {KEEPER_ON_TIMEOUT, KEEPER_SAME},       {KEEPER_ON_HAND_OVER, KEEPER_HANDING_OVER},
        {KEEPER_ON_STOPPING, KEEPER_SAME}, /* for the next one */
        {KEEPER_ON_HAND_OVER, KEEPER_SAME},     {KEEPER_ON_TIMEOUT, KEEPER_SAME},
        {KEEPER_ON_END, KEEPER_STARTING},       {KEEPER_ON_STOP, KEEPER_STOPPING},
        {KEEPER_ON_HAND_OVER, KEEPER_SAME},     {KEEPER_ON_READY, KEEPER_SAME},
        {KEEPER_ON_FAILURE, KEEPER_ENDED},
    };
    enum keeper_state at = KEEPER_STARTING;

    for (size_t i = 0; i < ELEMENTS_OF(steps); i++) {
        enum keeper_state next = keeper_state_next(at, steps[i].event);

        assert_int_equal(next, steps[i].next);
        at = next != KEEPER_SAME ? next : at;
    }
}

static void test_a_stop_leads_to_the_end(void **state)
{
    for (int s = KEEPER_SAME + 1; s < KEEPER_ENDED; s++) {
        enum keeper_state at = (enum keeper_state)s;
        enum keeper_state next = keeper_state_next(at, KEEPER_ON_STOP);

        if (at == KEEPER_STOPPING)
            assert_int_equal(next, KEEPER_SAME);
        else
            assert_int_equal(next, keeper_state_has_child(at) ? KEEPER_STOPPING : KEEPER_ENDED);
    }
    assert_int_equal(keeper_state_next(KEEPER_STOPPING, KEEPER_ON_END), KEEPER_ENDED);
}

static void test_success_ends_the_keeper(void **state)
{
    assert_int_equal(keeper_state_next(KEEPER_STARTING, KEEPER_ON_END), KEEPER_ENDED);
    assert_int_equal(keeper_state_next(KEEPER_READY, KEEPER_ON_END), KEEPER_ENDED);
}

static void test_delays(void **state)
{
    static const unsigned delays_ms[] = {0, 100, 200, 400, 800, 1000, 1000};

    for (unsigned i = 0; i < ELEMENTS_OF(delays_ms); i++)
        assert_int_equal(keeper_backoff_delay(i + 1, SPAN_SEC(1)), SPAN_MS(delays_ms[i]));
    assert_int_equal(keeper_backoff_delay(UINT32_MAX, SPAN_SEC(1)), SPAN_SEC(1));
    assert_int_equal(keeper_backoff_delay(7, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_life),
        cmocka_unit_test(test_a_stop_leads_to_the_end),
        cmocka_unit_test(test_success_ends_the_keeper),
        cmocka_unit_test(test_delays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
