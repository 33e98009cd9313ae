/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "serve/watchdog.h"

#define NOW SPAN_SEC(1000)

static void test_states(void **state)
{
    static const struct {
        bool is_awaiting;
        mono_us began_at, ended_at;
        int result;
    } cases[] = {
        {false, 0, 0, WATCHDOG_PENDING}, /* never probed */
        {false, NOW - 10, NOW - 5, 0},
        {false, NOW - WATCHDOG_VALID_FOR, NOW - WATCHDOG_VALID_FOR, 0},
        {false, NOW - WATCHDOG_VALID_FOR - 2, NOW - WATCHDOG_VALID_FOR - 1, WATCHDOG_PENDING},
        {true, NOW, 0, WATCHDOG_PENDING},
        {true, NOW - WATCHDOG_HUNG_AFTER + 1, NOW - SPAN_SEC(60), WATCHDOG_PENDING},
        {true, NOW - WATCHDOG_HUNG_AFTER + 1, NOW - WATCHDOG_HUNG_AFTER, WATCHDOG_PENDING},
        {true, NOW - WATCHDOG_HUNG_AFTER, 0, -ETIMEDOUT},
        {true, NOW - SPAN_SEC(60), NOW - SPAN_SEC(61), -ETIMEDOUT},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;
        int r = watchdog_state(cases[i].is_awaiting, cases[i].began_at, cases[i].ended_at, NOW, &e);

        assert_int_equal(r, cases[i].result);
        assert_int_equal(e.text[0] != '\0', r < 0);
    }
}

static void test_message(void **state)
{
    struct error e = ERROR_INIT;

    watchdog_state(true, NOW - SPAN_SEC(60), 0, NOW, &e);
    assert_string_equal(e.text,
                        "the publisher or the FUSE workers have not responded for 60 s; if they do "
                        "not recover, restart the daemon");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
