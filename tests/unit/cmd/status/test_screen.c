/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/status/screen.h"

#define FIVE "1\n2\n3\n4\n5\n"
#define E    "\033[K\n"

static void test_redraw(void **state)
{
    static const struct {
        const char *table;
        unsigned n_lines;
        const char *screen;
    } cases[] = {
        {"", 0, "\033[H\033[J"},
        {"a b\n\nc\n", 0, "\033[Ha b" E E "c" E "\033[J"},
        {FIVE, 6, "\033[H1" E "2" E "3" E "4" E "5" E "\033[J"},
        {FIVE, 5, "\033[H1" E "2" E "3" E "(2 more)" E "\033[J"},
        {FIVE, 3, "\033[H1" E "(4 more)" E "\033[J"},
        /* a terminal that has no place for both */
        {FIVE, 2, "\033[H1" E "2" E "3" E "4" E "5" E "\033[J"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text = BUF_INIT(1000);

        assert_int_equal(screen_redraw(cases[i].table, cases[i].n_lines, &text), 0);
        assert_string_equal(buf_text(&text), cases[i].screen);
        buf_deinit(&text);
    }
}

static void test_limit(void **state)
{
    struct buf text = BUF_INIT(10);

    assert_int_equal(screen_redraw(FIVE, 0, &text), -EFBIG);
    buf_deinit(&text);
}

static void test_colours_are_for_terminals(void **state)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), other = open("/dev/null", O_RDWR);

    assert_true(other >= 0);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_false(screen_takes_colours(other));
    assert_int_equal(screen_lines(other), 0);
    if (terminal < 0)
        skip();
    assert_true(screen_takes_colours(terminal));
    setenv("NO_COLOR", "", 1);
    assert_true(screen_takes_colours(terminal));
    setenv("NO_COLOR", "1", 1);
    assert_false(screen_takes_colours(terminal));
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    assert_false(screen_takes_colours(terminal));
    close(terminal);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redraw),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_colours_are_for_terminals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
