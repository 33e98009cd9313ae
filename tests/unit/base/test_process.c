/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/process.h"

struct seen {
    struct buf text; /* each line with its length */
    int n;
    int stop_at; /* the line that ends the reading; 0: none */
};

static int on_line(void *userdata, const char *line, size_t len)
{
    struct seen *seen = userdata;

    assert_int_equal(buf_addf(&seen->text, "%zu:%.20s;", len, line), 0);
    return ++seen->n == seen->stop_at ? -EDOM : 0;
}

static void expect(const char *script, int stop_at, int expected, const char *text)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct seen seen = {.text = BUF_INIT(1000), .stop_at = stop_at};

    assert_int_equal(process_read_lines(argv, on_line, &seen), expected);
    assert_string_equal(buf_text(&seen.text), text);
    buf_deinit(&seen.text);
}

static void test_lines(void **state)
{
    expect("printf 'a\\n\\nb c\\n'", 0, 0, "1:a;0:;3:b c;");
    expect("printf 'a\\nb'", 0, 0, "1:a;1:b;");
    expect("true", 0, 0, "");
    expect("head -c 100000 /dev/zero", 0, 0, "100000:;");
}

static void test_status(void **state)
{
    expect("echo a; exit 3", 0, 3, "1:a;");
    expect("kill -KILL $$", 0, -EINTR, "");
}

/* A program that goes on writing ends by SIGPIPE. */
static void test_end_of_reading(void **state)
{
    expect("yes a", 2, -EDOM, "1:a;1:a;");
}

/* The keeper's child has one of those: until it is closed everywhere, the child counts as alive. */
static void test_descriptors_are_not_inherited(void **state)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD, 100);
    char script[64];

    assert_true(fd >= 100);
    snprintf(script, sizeof(script), "test ! -e /proc/self/fd/%d && echo none", fd);
    expect(script, 0, 0, "4:none;");
    close(fd);
}

static void test_no_program(void **state)
{
    const char *const argv[] = {"/nonexistent/program", NULL};
    struct seen seen = {.text = BUF_INIT(1000)};

    assert_int_equal(process_read_lines(argv, on_line, &seen), -ENOENT);
    assert_int_equal(process_run(argv), -ENOENT);
}

/* ---- both outputs */

static void expect_both(const char *script, int expected, const char *output, const char *errors)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct buf written = BUF_INIT(100000), complaints = BUF_INIT(100);

    assert_int_equal(process_read(argv, &written, &complaints), expected);
    if (output != NULL)
        assert_string_equal(buf_text(&written), output);
    assert_string_equal(buf_text(&complaints), errors);
    buf_deinit(&written);
    buf_deinit(&complaints);
}

static void test_both_outputs(void **state)
{
    expect_both("echo a; echo b >&2; echo c; exit 3", 3, "a\nc\n", "b\n");
    expect_both("exec >&-; echo b >&2", 0, "", "b\n");
    expect_both("exec 2>&-; echo a", 0, "a\n", "");
    /* more than a pipe takes, while nothing is written to the other */
    expect_both("head -c 99999 /dev/zero | tr '\\0' a; echo b >&2", 0, NULL, "b\n");
}

/* Beyond a limit the program ends by SIGPIPE. */
static void test_limits(void **state)
{
    expect_both("yes", -EFBIG, NULL, "");
    expect_both("head -c 200 /dev/zero >&2", -EFBIG, "", "");
}

static void test_no_program_to_read(void **state)
{
    const char *const argv[] = {"/nonexistent/program", NULL};
    struct buf output = BUF_INIT(10), errors = BUF_INIT(10);

    assert_int_equal(process_read(argv, &output, &errors), -ENOENT);
}

static void test_run(void **state)
{
    const char *const argv[] = {"sh", "-c", "exit 4", NULL};

    assert_int_equal(process_run(argv), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_end_of_reading),
        cmocka_unit_test(test_descriptors_are_not_inherited),
        cmocka_unit_test(test_no_program),
        cmocka_unit_test(test_both_outputs),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_program_to_read),
        cmocka_unit_test(test_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
