/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/label.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define X9  "xxxxxxxxx"
#define X63 X9 X9 X9 X9 X9 X9 X9

static bool key(const char *text)
{
    return label_key_is_valid(text, strlen(text));
}

static bool value(const char *text)
{
    return label_value_is_valid(text, strlen(text));
}

static void test_keys(void **state)
{
    static const char *const valid[] = {"a",       "A",         "0",
                                        "a-b_c.D", X63,         "example.org/a",
                                        "a/b",     "a-b.0/A_b", X63 "." X63 "." X63 "/" X63};
    static const char *const invalid[] = {
        "",      "-a",   "a-",   "_",      "a b",    "a$",     "\xc3\xa4",
        X63 "x", "/a",   "a/",   "a/b/c",  "A/b",    "a_/b",   "-a/b",
        "a-/b",  ".a/b", "a./b", "a..b/c", "a.-b/c", "a-.b/c", X63 "." X63 "." X63 "." X63 "/a"};

    for (size_t i = 0; i < ELEMENTS_OF(valid); i++)
        if (!key(valid[i]))
            fail_msg("%s", valid[i]);
    for (size_t i = 0; i < ELEMENTS_OF(invalid); i++)
        if (key(invalid[i]))
            fail_msg("%s", invalid[i]);
}

static void test_values(void **state)
{
    assert_true(value("") && value("a") && value("A-b_c.0") && value(X63));
    assert_false(value(X63 "x") || value("-a") || value("a.") || value("a/b") || value(" "));
}

/* What follows is not looked at. */
static void test_lengths(void **state)
{
    assert_true(label_key_is_valid("ab$", 2) && label_value_is_valid("a-", 1));
    assert_true(label_key_is_valid("ab/c", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_lengths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
