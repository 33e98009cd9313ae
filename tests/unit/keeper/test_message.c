/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "keeper/message.h"

static struct keeper_message parse(const char *text)
{
    struct keeper_message m;

    assert_int_equal(keeper_message_parse(text, strlen(text), &m), 0);
    return m;
}

static void test_flags(void **state)
{
    struct keeper_message m =
        parse("READY=1\nSTOPPING=1\nFDSTORE=1\nFDSTOREREMOVE=1\nWATCHDOG=1\n");

    assert_true(m.is_ready && m.is_stopping && m.stores && m.removes && m.is_alive);
    assert_false(m.is_barrier || m.is_hung || m.has_name);
    assert_true(m.is_polled);
    assert_null(m.invalid_key);
    m = parse("READY=0\nSTOPPING=\nFDSTORE=2\nFDSTOREREMOVE=yes\nREADY\n=1\nready=1\n READY=1");
    assert_false(m.is_ready || m.is_stopping || m.stores || m.removes);
    assert_null(m.invalid_key);
    assert_true(parse("WATCHDOG=trigger").is_hung);
    assert_false(parse("FDPOLL=0").is_polled);
    assert_true(parse("FDPOLL=1").is_polled);
}

static void test_barrier_stands_alone(void **state)
{
    struct keeper_message m;

    assert_true(parse("BARRIER=1").is_barrier);
    assert_true(parse("BARRIER=1\n").is_barrier);
    assert_int_equal(keeper_message_parse("BARRIER=1\nREADY=1", 17, &m), -EINVAL);
    assert_int_equal(keeper_message_parse("X=\nBARRIER=1", 12, &m), -EINVAL);
}

static void test_hand_over_stands_alone(void **state)
{
    struct keeper_message m;

    assert_true(parse("HANDOVER=1").hands_over);
    assert_false(parse("HANDOVER=0\nFDSTORE=1").hands_over);
    assert_int_equal(keeper_message_parse("HANDOVER=1\nFDSTORE=1", 20, &m), -EINVAL);
    assert_int_equal(keeper_message_parse("HANDOVER=1\nBARRIER=1", 20, &m), -EINVAL);
}

static void test_names(void **state)
{
    char line[KEEPER_NAME_MAX + 16] = "FDNAME=";
    struct keeper_message m = parse("FDNAME=first\nFDNAME=second");

    assert_true(m.has_name);
    assert_string_equal(m.name, "first");
    assert_true(parse("FDNAME=").has_name);
    assert_string_equal(parse("FDNAME= ~").name, " ~");
    m = parse("FDNAME=a:b");
    assert_false(m.has_name);
    assert_string_equal(m.invalid_key, "FDNAME=");
    assert_false(parse("FDNAME=\t").has_name);
    assert_false(parse("FDNAME=\x7f").has_name);
    assert_false(parse("FDNAME=\xff").has_name);

    memset(line + 7, 'x', KEEPER_NAME_MAX);
    assert_int_equal(strlen(parse(line).name), KEEPER_NAME_MAX);
    line[7 + KEEPER_NAME_MAX] = 'x';
    assert_false(parse(line).has_name);
}

static void test_numbers(void **state)
{
    static const char *const invalid[] = {
        "MAINPID=",
        "MAINPID=0",
        "MAINPID=1",
        "MAINPID=-5",
        "MAINPID=+5",
        "MAINPID= 5",
        "MAINPID=5x",
        "MAINPID=2147483648",
        "MAINPID=99999999999999999999999",
        "WATCHDOG_USEC=0",
        "WATCHDOG_USEC=18446744073709551615",
        "WATCHDOG=0",
        "WATCHDOG=",
    };

    assert_int_equal(parse("MAINPID=2147483647").main_pid, 2147483647);
    assert_int_equal(parse("WATCHDOG_USEC=30000000").watchdog, SPAN_SEC(30));
    for (size_t i = 0; i < ELEMENTS_OF(invalid); i++) {
        struct keeper_message m = parse(invalid[i]);

        assert_non_null(m.invalid_key);
        assert_int_equal(m.watchdog, 0);
        assert_false(m.is_alive);
    }
}

static void test_lines_that_go_upward(void **state)
{
    char longest[KEEPER_MESSAGE_MAX + 2];

    assert_string_equal(parse("FDSTORE=1\nREADY=1\nSTATUS=a = b\nMAINPID=7\nX_Y=1\nERRNO=2").upward,
                        "READY=1\nSTATUS=a = b\nERRNO=2");
    assert_string_equal(parse("STOPPING=1\nWATCHDOG=1\nBARRIER=0").upward, "");
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "STATUS=", 7);
    longest[KEEPER_MESSAGE_MAX] = '\0';
    assert_string_equal(parse(longest).upward, longest);
}

static void test_what_is_refused(void **state)
{
    char longest[KEEPER_MESSAGE_MAX + 1] = "";
    struct keeper_message m;

    assert_int_equal(keeper_message_parse("READY=1\0", 8, &m), -EINVAL);
    assert_int_equal(keeper_message_parse(longest, sizeof(longest), &m), -EMSGSIZE);
    assert_int_equal(keeper_message_parse("", 0, &m), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_barrier_stands_alone),
        cmocka_unit_test(test_hand_over_stands_alone),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_lines_that_go_upward),
        cmocka_unit_test(test_what_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
