/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "handover/state_size.h"

#define MIB UINT64_C(1048576)
#define MAX (64 * MIB)

static void there_is_room_for_what_comes(void **state)
{
    assert_int_equal(state_size_choose(0, 0, MAX), MIB);
    assert_int_equal(state_size_choose(MIB, 0, MAX), 5 * MIB);
    assert_int_equal(state_size_choose(MIB, 3 * MIB, MAX), 11 * MIB);
}

static void the_limit_holds(void **state)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     MIB,
                                     8 * MIB,
                                     9 * MIB,
                                     MAX / 2,
                                     MAX - MIB,
                                     MAX - MIB + 1,
                                     MAX,
                                     MAX + 1,
                                     UINT64_MAX / 2,
                                     UINT64_MAX};

    for (size_t i = 0; i < ELEMENTS_OF(sizes); i++)
        for (size_t j = 0; j < ELEMENTS_OF(sizes); j++) {
            uint64_t size = state_size_choose(sizes[i], sizes[j], MAX);

            assert_true(size <= MAX);
            assert_true(size == 0 || size >= sizes[i] + MIB);
            assert_int_equal(size == 0, sizes[i] > MAX - MIB);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_room_for_what_comes),
        cmocka_unit_test(the_limit_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
