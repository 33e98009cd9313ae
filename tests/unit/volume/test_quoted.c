/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/quoted.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "encoding/json.h"

static void check(const char *text, const char *expected)
{
    struct buf buf = BUF_INIT(1024);

    assert_int_equal(quoted_add(&buf, text), 0);
    assert_string_equal(buf_text(&buf), expected);
    buf_deinit(&buf);
}

/* Y3: what Go's strconv.Quote writes. */
static void test_escapes(void **state)
{
    check("", "\"\"");
    check("plain text, 'single'", "\"plain text, 'single'\"");
    check("\a\b\f\n\r\t\v\\\"", "\"\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\"");
    check("\x01\x1f\x7f", "\"\\x01\\x1f\\x7f\"");
    check("a" JSON_NUL "b", "\"a\\x00b\"");
}

static void test_unicode(void **state)
{
    check("\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80", "\"\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80\"");
    check("\xc2\x80\xc2\xa0\xc2\xad", "\"\\u0080\\u00a0\\u00ad\"");
    check("\xe2\x80\x8b\xef\xbb\xbf\xe3\x80\x80", "\"\\u200b\\ufeff\\u3000\"");
    check("\xee\x80\x80\xef\xbf\xbf", "\"\\ue000\\uffff\"");
    check("\xf3\xb0\x80\x80\xf3\xa0\x80\x81", "\"\\U000f0000\\U000e0001\"");
    check("\xef\xbf\xbd", "\"\xef\xbf\xbd\"");
}

/* No API server sends it; nothing is read beyond the end. */
static void test_not_utf8(void **state)
{
    check("\xff\x41", "\"\\xffA\"");
    check("\xe4\xb8", "\"\\xe4\\xb8\"");
    check("\xf0\x9f\x98", "\"\\xf0\\x9f\\x98\"");
    check("\xed\xa0\x80", "\"\\xed\\xa0\\x80\"");
    check("\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"");
    check("\xe0\x80\x80", "\"\\xe0\\x80\\x80\"");
}

static void test_limit(void **state)
{
    struct buf buf = BUF_INIT(5);

    assert_int_equal(quoted_add(&buf, "123"), 0);
    buf_reset(&buf);
    assert_int_equal(quoted_add(&buf, "1234"), -EFBIG);
    buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_unicode),
        cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
