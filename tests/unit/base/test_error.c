/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"

#include "tests/unit/failmalloc.h"

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

static void test_kept_text(void **state)
{
    struct kept_error kept = {0};
    const char *text;

    assert_string_equal(kept_error_text(&kept), "");
    kept_error_set(&kept, "one");
    text = kept_error_text(&kept);
    kept_error_set(&kept, "one");
    assert_ptr_equal(kept_error_text(&kept), text);
    kept_error_set(&kept, "two");
    assert_string_equal(kept_error_text(&kept), "two");
    kept_error_set(&kept, "");
    assert_null(kept.owned);
    kept_error_clear(&kept);
}

static int try_keep(void *userdata)
{
    struct kept_error kept = {0};
    bool is_kept;

    kept_error_set(&kept, userdata);
    is_kept = streq(kept_error_text(&kept), userdata);
    assert_true(is_kept || str_after(kept_error_text(&kept), "out of memory") != NULL);
    kept_error_set(&kept, "another");
    kept_error_clear(&kept);
    return is_kept ? 0 : -ENOMEM;
}

static void test_kept_text_without_memory(void **state)
{
    char text[] = "one";

    failmalloc_try(try_keep, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_error_may_be_null),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_kept_text),
        cmocka_unit_test(test_kept_text_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
