/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"

static void test_texts(void **state)
{
    struct error e = ERROR_INIT;

    assert_string_equal(e.text, "");
    assert_int_equal(error_set(&e, -EINVAL, "key \"%s\" is bad", "x"), -EINVAL);
    assert_string_equal(e.text, "key \"x\" is bad");
    assert_int_equal(error_prefix(&e, -EINVAL, "secret/%s/%s", "a", "b"), -EINVAL);
    assert_string_equal(e.text, "secret/a/b: key \"x\" is bad");
    assert_int_equal(error_set_errno(&e, -ENOENT, "cannot open %s", "/x"), -ENOENT);
    assert_string_equal(e.text, "cannot open /x: No such file or directory");
}

static void test_error_may_be_null(void **state)
{
    assert_int_equal(error_set(NULL, -EINVAL, "%d", 1), -EINVAL);
    assert_int_equal(error_set_errno(NULL, -ENOMEM, "%d", 1), -ENOMEM);
    assert_int_equal(error_prefix(NULL, 7, "%d", 1), 7);
}

static void test_long_texts_are_cut(void **state)
{
    struct error e = ERROR_INIT;
    char text[2 * ERROR_TEXT_MAX];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    error_set(&e, -EINVAL, "%s", text);
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
    error_prefix(&e, -EINVAL, "context");
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
    assert_non_null(str_after(e.text, "context: xxx"));
    error_set_errno(&e, -ENOENT, "%s", text);
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_error_may_be_null),
        cmocka_unit_test(test_long_texts_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
