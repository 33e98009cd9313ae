/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "monitor/process_metrics.h"

#include "tests/unit/failmalloc.h"

static void test_a_line_is_parsed(void **state)
{
    struct process_stat stat;

    assert_int_equal(
        process_stat_parse("7 (a) b) 1 2) S 1 7 7 0 -1 4194560 5 6 7 8 100 23 9 9 20 0 "
                           "3 0 123456 987654321 4321 18446744073709551615 1 1\n",
                           &stat),
        0);
    assert_int_equal(stat.cpu_ticks, 123);
    assert_int_equal(stat.start_ticks, 123456);
    assert_int_equal(stat.virtual_bytes, 987654321);
    assert_int_equal(stat.resident_pages, 4321);
    assert_int_equal(process_stat_parse("", &stat), -EINVAL);
    assert_int_equal(process_stat_parse("7 (a) S 1 2 3", &stat), -EINVAL);
    assert_int_equal(process_stat_parse("7 a S", &stat), -EINVAL);
}

static double value_of(const char *text, const char *name)
{
    char line[128];
    const char *found;

    snprintf(line, sizeof(line), "\n%s ", name);
    found = strstr(text, line);
    if (found == NULL)
        fail_msg("there is no %s in:\n%s", name, text);
    return strtod(found + strlen(line), NULL);
}

static void test_of_this_process(void **state)
{
    struct buf text = BUF_INIT(4u << 20);
    double now = (double)time(NULL), before;
    struct process_metrics process;
    struct metrics *metrics;
    int fd;

    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(process_metrics_init(&process, metrics), 0);
    assert_int_equal(metrics_render(metrics, &text), 0);
    assert_true(value_of(buf_text(&text), "process_resident_memory_bytes") > 100000);
    assert_true(value_of(buf_text(&text), "process_virtual_memory_bytes") >
                value_of(buf_text(&text), "process_resident_memory_bytes"));
    assert_true(value_of(buf_text(&text), "process_cpu_seconds_total") >= 0);
    assert_true(value_of(buf_text(&text), "process_start_time_seconds") <= now + 2);
    assert_true(value_of(buf_text(&text), "process_start_time_seconds") > now - 3600);
    assert_true(value_of(buf_text(&text), "process_max_fds") > 3);
    before = value_of(buf_text(&text), "process_open_fds");
    fd = dup(0);
    buf_reset(&text);
    assert_int_equal(metrics_render(metrics, &text), 0);
    assert_true(value_of(buf_text(&text), "process_open_fds") == before + (fd >= 0 ? 1 : 0));
    close(fd);
    buf_deinit(&text);
    assert_null(metrics_free(metrics));
}

static int try_rendering(void *userdata)
{
    _cleanup_(metrics_freep) struct metrics *metrics = NULL;
    struct buf text = BUF_INIT(4u << 20);
    struct process_metrics process;
    int r = metrics_new(&metrics);

    if (r == 0)
        r = process_metrics_init(&process, metrics);
    if (r == 0)
        r = metrics_render(metrics, &text);
    buf_deinit(&text);
    return r;
}

static void test_without_memory(void **state)
{
    failmalloc_try(try_rendering, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_parsed),
        cmocka_unit_test(test_of_this_process),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
