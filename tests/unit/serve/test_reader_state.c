/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "serve/reader_state.h"

#define YES true
#define NO  false

/* Each fact alone, and what precedes what. */
static void test_table(void **state)
{
    static const struct {
        struct reader_facts facts; /* shown, publish fails, held, stale, source fails */
        const char *name;
    } cases[] = {
        {{NO, NO, NO, NO, NO}, "waiting"},    {{NO, YES, YES, YES, YES}, "waiting"},
        {{YES, NO, NO, NO, NO}, "current"},   {{YES, NO, NO, NO, YES}, "disconnected"},
        {{YES, NO, NO, YES, NO}, "stale"},    {{YES, NO, NO, YES, YES}, "stale"},
        {{YES, NO, YES, NO, NO}, "held"},     {{YES, NO, YES, YES, NO}, "held"},
        {{YES, NO, YES, YES, YES}, "held"},   {{YES, YES, NO, NO, NO}, "failing"},
        {{YES, YES, NO, NO, YES}, "failing"}, {{YES, YES, YES, YES, YES}, "failing"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(reader_state_name(reader_state(&cases[i].facts)), cases[i].name);
}

/* Only readers that get what a reachable source has are current. */
static void test_current_is_certain(void **state)
{
    for (unsigned bits = 0; bits < 32; bits++) {
        const struct reader_facts facts = {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0,
                                           (bits & 8) != 0, (bits & 16) != 0};

        assert_int_equal(reader_state(&facts) == READER_CURRENT, bits == 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_current_is_certain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
