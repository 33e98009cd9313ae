/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "encoding/yaml_quotes.h"

#include "tests/unit/failmalloc.h"

/* @expected: NULL: nothing is copied */
static void check(const char *text, const char *expected)
{
    _cleanup_(freep) char *accepted = NULL;
    size_t len = 0;

    assert_int_equal(yaml_quotes_accept(text, strlen(text), &accepted, &len), 0);
    if (expected == NULL) {
        assert_null(accepted);
        return;
    }
    assert_non_null(accepted);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(accepted, expected, len);
}

static void test_double_quotes_only(void **state)
{
    check("a: b\n", NULL);
    check("a: \"it\\'s\"\n", "a: \"it's\"\n");
    check("\"\\'\\'\": \"\\\\\\'\\\"\\'\"\n", "\"''\": \"\\\\'\\\"'\"\n");
    check("a: it\\'s\n", "a: it\\'s\n");
    check("a: 'it\\'\n", "a: 'it\\'\n");
    check("a: |\n  it\\'s\nb: \"\\'\"\n", "a: |\n  it\\'s\nb: \"'\"\n");
    check("a: \"\\q\\'\"\n", "a: \"\\q\\'\"\n"); /* another error comes first */
}

static int accept_one(void *userdata)
{
    static const char text[] = "a: \"it\\'s\"\n";
    _cleanup_(freep) char *accepted = NULL;
    size_t len;

    return yaml_quotes_accept(text, strlen(text), &accepted, &len);
}

static void test_allocation_failures_are_reported(void **state)
{
    failmalloc_try(accept_one, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_quotes_only),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests_name("yaml_quotes", tests, NULL, NULL);
}
