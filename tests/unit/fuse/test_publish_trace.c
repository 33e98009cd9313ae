/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publish_trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"

static struct publish_trace trace;

static int setup(void **state)
{
    trace = (struct publish_trace){0};
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    log_trace_set(1u << LOG_TRACE_PUBLISHER);
    return 0;
}

static int teardown(void **state)
{
    log_trace_set(0);
    return 0;
}

/* What is written, standard error being a file meanwhile. */
static const char *written(void)
{
    static char text[32768];
    _cleanup_(fd_closep) int fd = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    ssize_t len;

    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    publish_trace_write(&trace);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    len = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    return text;
}

static void test_lines_are_written_once(void **state)
{
    const struct publish_trace_line step = {.message = "step", .action = "publish"};
    const char *text;

    assert_true(publish_trace_add(&trace, &step, "v"));
    text = written();
    assert_non_null(strstr(text, "step"));
    assert_non_null(strstr(text, "action=\"publish\" volume=\"v\"\n"));
    assert_string_equal(written(), "");
}

static void test_lines_have_what_is_set(void **state)
{
    const struct publish_trace_line ended = {
        .message = "update ended", .generation = "..g", .error = -ENOMEM};
    const char *text;

    assert_true(publish_trace_add(&trace, &ended, NULL));
    text = written();
    assert_non_null(strstr(text, "generation=\"..g\" error=\"Cannot allocate memory\"\n"));
    assert_null(strstr(text, "volume="));
    assert_null(strstr(text, "action="));
}

static void test_category_that_is_off_keeps_nothing(void **state)
{
    const struct publish_trace_line step = {.message = "step"};

    log_trace_set(0);
    assert_false(publish_trace_add(&trace, &step, "v"));
    assert_int_equal(trace.n, 0);
}

static void test_long_names_are_cut(void **state)
{
    const struct publish_trace_line step = {.message = "step"};
    char name[256];

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_true(publish_trace_add(&trace, &step, name));
    assert_int_equal(strlen(trace.lines[0].volume), sizeof(trace.lines[0].volume) - 1);
}

static void test_lines_past_the_maximum_are_counted(void **state)
{
    const struct publish_trace_line step = {.message = "step"};

    for (unsigned i = 0; i < PUBLISH_TRACE_MAX + 3; i++)
        assert_true(publish_trace_add(&trace, &step, "v"));
    assert_int_equal(trace.n, PUBLISH_TRACE_MAX);
    assert_non_null(strstr(written(), "number=\"3\""));
    assert_true(publish_trace_add(&trace, &step, "v"));
    assert_null(strstr(written(), "not traced"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_are_written_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_have_what_is_set, setup, teardown),
        cmocka_unit_test_setup_teardown(test_category_that_is_off_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_names_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_past_the_maximum_are_counted, setup, teardown),
    };

    return cmocka_run_group_tests_name("publish_trace", tests, NULL, NULL);
}
