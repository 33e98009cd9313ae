/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encoding/utf8.h"

static const struct {
    const char *text;
    size_t len; /* 0: not UTF-8 */
    uint32_t c;
} table[] = {
    {"", 1, 0},
    {"a", 1, 'a'},
    {"\x7f", 1, 0x7f},
    {"\xc2\x80", 2, 0x80},
    {"\xdf\xbf", 2, 0x7ff},
    {"\xe0\xa0\x80", 3, 0x800},
    {"\xed\x9f\xbf", 3, 0xd7ff},
    {"\xee\x80\x80", 3, 0xe000},
    {"\xf0\x90\x80\x80", 4, 0x10000},
    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
    {"\x80", 0, 0x80},             /* the rest of a character */
    {"\xc0\x80", 0, 0xc0},         /* overlong */
    {"\xc1\xbf", 0, 0xc1},         /* overlong */
    {"\xe0\x9f\xbf", 0, 0xe0},     /* overlong */
    {"\xf0\x8f\xbf\xbf", 0, 0xf0}, /* overlong */
    {"\xed\xa0\x80", 0, 0xed},     /* a surrogate */
    {"\xf4\x90\x80\x80", 0, 0xf4}, /* above U+10FFFF */
    {"\xf5\x80\x80\x80", 0, 0xf5}, /* the same */
    {"\xc2", 0, 0xc2},             /* cut */
    {"\xe2\x82", 0, 0xe2},         /* cut */
    {"\xe2\x82"
     "a",
     0, 0xe2},                 /* cut by another character */
    {"\xf0\x9f\x94", 0, 0xf0}, /* cut */
};

static void test_characters(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        size_t bytes = strlen(table[i].text);
        uint32_t c;

        assert_int_equal(utf8_decode(table[i].text, &c), table[i].len);
        if (table[i].len > 0)
            assert_int_equal(c, table[i].c);
        else
            assert_int_equal(c, (unsigned char)table[i].text[0]);
        assert_int_equal(utf8_length(table[i].text, bytes), bytes > 0 ? table[i].len : 0);
    }
}

static void test_texts(void **state)
{
    assert_true(utf8_is_valid("", 0));
    assert_true(utf8_is_valid("a\0b", 3));
    assert_true(utf8_is_valid("\xc3\xa9\xe2\x82\xac", 5));
    assert_false(utf8_is_valid("\xc3\xa9\xe2\x82\xac", 4)); /* cut by the length */
    assert_false(utf8_is_valid("a\xff", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
