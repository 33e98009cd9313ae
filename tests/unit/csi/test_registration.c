/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>

#include "csi/registration.h"

/* As the kubelet's own waits: doubling, and not longer than its longest (R8). */
static void waits_double_to_a_maximum(void **state)
{
    span_us last = 0;

    assert_int_equal(registration_back_off(1), SPAN_SEC(1));
    assert_int_equal(registration_back_off(2), SPAN_SEC(2));
    assert_int_equal(registration_back_off(3), SPAN_SEC(4));
    assert_int_equal(registration_back_off(8), SPAN_SEC(122));
    assert_int_equal(registration_back_off(UINT_MAX), SPAN_SEC(122));
    for (unsigned n = 1; n < 100; n++) {
        assert_true(registration_back_off(n) >= last);
        last = registration_back_off(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_to_a_maximum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
