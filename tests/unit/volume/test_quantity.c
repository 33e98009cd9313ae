/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/quantity.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check(const char *text, int64_t whole, int64_t milli)
{
    struct quantity q;

    if (quantity_parse(text, &q) != 0)
        fail_msg("refused: %s", text);
    if (quantity_count(&q, 0) != whole || quantity_count(&q, 3) != milli)
        fail_msg("%s: %lld, %lld", text, (long long)quantity_count(&q, 0),
                 (long long)quantity_count(&q, 3));
    assert_int_equal(quantity_is_zero(&q), whole == 0);
}

static void test_suffixes(void **state)
{
    check("0", 0, 0);
    check("0.0Mi", 0, 0);
    check("7", 7, 7000);
    check("+7", 7, 7000);
    check("250m", 1, 250);
    check("1500m", 2, 1500);
    check("1u", 1, 1);
    check("1n", 1, 1);
    check("100k", 100000, 100000000);
    check("2M", 2000000, 2000000000);
    check("1Ki", 1024, 1024000);
    check("65Mi", 68157440, 68157440000);
    check("1.5Gi", 1610612736, 1610612736000);
    check("0.1Ki", 103, 102400);
    check(".5", 1, 500);
    check("5.", 5, 5000);
    check("1e3", 1000, 1000000);
    check("12E-1", 2, 1200);
    check("1E", 1000000000000000000, INT64_MAX);
    check("1Ei", 1152921504606846976, INT64_MAX);
    check("9Ei", INT64_MAX, INT64_MAX);
    check("999999999999999999999999999999999999Ei", INT64_MAX, INT64_MAX);
    check("1e-60", 1, 1);
    check("1e60", INT64_MAX, INT64_MAX);
}

static void test_invalid(void **state)
{
    static const char *const bad[] = {
        "",     "m",    "-1",    "1 ",
        " 1",   "1Kib", "1K",    "x",
        "1e",   "1e+",  ".",     "1.1.1",
        "1e99", "1mi",  "1e3Mi", "1234567890123456789012345678901234567"};
    struct quantity q;

    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (quantity_parse(bad[i], &q) != -EINVAL)
            fail_msg("not refused: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suffixes),
        cmocka_unit_test(test_invalid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
