/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/assert_between.h"

static void test_rfc3339(void **state)
{
    char text[CLOCK_RFC3339_SIZE];

    assert_string_equal(
        clock_rfc3339((struct timespec){.tv_sec = 1767323045, .tv_nsec = 678999999}, text),
        "2026-01-02T03:04:05.678Z");
    assert_string_equal(clock_rfc3339((struct timespec){.tv_sec = 0}, text),
                        "1970-01-01T00:00:00.000Z");
}

static void test_wall_clock_at_a_point_of_boot_time(void **state)
{
    boot_us then = clock_boot() - SPAN_SEC(90) - SPAN_MS(900);
    struct timespec before = clock_wall(), at = clock_wall_at(then), after = clock_wall();

    assert_between(at.tv_nsec, 0, 999999999);
    assert_between(at.tv_sec, before.tv_sec - 93, after.tv_sec - 90);
}

static void test_parses_rfc3339(void **state)
{
    static const struct {
        const char *text;
        time_t sec;
        long nsec;
    } cases[] = {
        {"2026-01-02T03:04:05Z", 1767323045, 0},
        {"2026-01-02T03:04:05.5Z", 1767323045, 500000000},
        {"2026-01-02T03:04:05.000000001Z", 1767323045, 1},
        {"2026-01-02T03:04:05.0000000019Z", 1767323045, 1},
        {"2026-01-02T05:34:05+02:30", 1767323045, 0},
        {"2026-01-02T00:04:05.25-03:00", 1767323045, 250000000},
        {"1969-12-31T23:59:58Z", -2, 0},
    };
    static const char *const bad[] = {
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05Zx",
        "2026-01-02T03:04:05+0200",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05*02:00",
        "2026-13-02T03:04:05Z",
        "2026-01-02 03:04:05Z",
    };
    struct timespec t;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        if (clock_parse_rfc3339(cases[i].text, &t) < 0)
            fail_msg("%s", cases[i].text);
        assert_int_equal(t.tv_sec, cases[i].sec);
        assert_int_equal(t.tv_nsec, cases[i].nsec);
    }
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (clock_parse_rfc3339(bad[i], &t) != -EINVAL)
            fail_msg("%s", bad[i]);
}

static void test_parses_durations(void **state)
{
    static const struct {
        const char *text;
        span_us span;
    } cases[] = {
        {"0", 0},
        {"30s", SPAN_SEC(30)},
        {"1m30s", SPAN_SEC(90)},
        {"500ms", SPAN_MS(500)},
        {"1.5h", SPAN_SEC(5400)},
        {".5s", SPAN_MS(500)},
        {"1.s", SPAN_SEC(1)},
        {"10us", 10},
        {"1500ns", 1},
        {"1h1m1s1ms", SPAN_SEC(3661) + SPAN_MS(1)},
        {"forever", SPAN_FOREVER},
    };
    static const char *const bad[] = {"",
                                      "1",
                                      "s",
                                      "1d",
                                      "-1s",
                                      "1s ",
                                      " 1s",
                                      "1 s",
                                      "infs",
                                      "0x1s",
                                      "1e3s",
                                      ".s",
                                      "1.2.3s",
                                      "1s1",
                                      "nans",
                                      "1ss",
                                      "1m30",
                                      "Forever",
                                      "99999999999999999h"};
    struct error e;
    span_us span;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        if (clock_parse_duration(cases[i].text, &span, &e) < 0)
            fail_msg("%s", e.text);
        assert_int_equal(span, cases[i].span);
    }
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        if (clock_parse_duration(bad[i], &span, &e) != -EINVAL)
            fail_msg("%s", bad[i]);
        assert_non_null(strstr(e.text, "use a number with a unit"));
    }
}

static void test_monotonic_does_not_go_back(void **state)
{
    mono_us first = clock_mono(), second = clock_mono();

    assert_true(first > 0 && second >= first);
    assert_true(clock_wall().tv_sec > 1700000000);
}

static void test_timespec(void **state)
{
    struct timespec t = clock_timespec(SPAN_SEC(3) + 250);

    assert_int_equal(t.tv_sec, 3);
    assert_int_equal(t.tv_nsec, 250000);
    t = clock_timespec(SPAN_SEC(1) - 1);
    assert_int_equal(t.tv_sec, 0);
    assert_int_equal(t.tv_nsec, 999999000);
}

static void test_doubles_a_span(void **state)
{
    assert_int_equal(span_doubled(SPAN_MS(100), 0, 3), SPAN_MS(100));
    assert_int_equal(span_doubled(SPAN_MS(100), 3, 3), SPAN_MS(800));
    assert_int_equal(span_doubled(SPAN_MS(100), UINT_MAX, 3), SPAN_MS(800));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timespec),
        cmocka_unit_test(test_doubles_a_span),
        cmocka_unit_test(test_rfc3339),
        cmocka_unit_test(test_wall_clock_at_a_point_of_boot_time),
        cmocka_unit_test(test_parses_rfc3339),
        cmocka_unit_test(test_parses_durations),
        cmocka_unit_test(test_monotonic_does_not_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
