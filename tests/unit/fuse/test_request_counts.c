/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/request_counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <linux/fuse.h>

#include <cmocka.h>

static void count(struct request_counters *counters, uint32_t opcode)
{
    const struct fuse_in_header header = {.opcode = opcode};

    request_counters_count(counters, &header, sizeof(header));
}

/* Append "KIND N " to @userdata, a text of 256 bytes. */
static void print_kind(void *userdata, const char *kind, uint64_t n)
{
    char *text = userdata;
    size_t len = strlen(text);

    snprintf(text + len, 256 - len, "%s %u ", kind, (unsigned)n);
}

static void assert_counts(const struct request_counts *counts, const char *expected)
{
    char text[256] = "";

    request_counts_visit(counts, print_kind, text);
    assert_string_equal(text, expected);
}

static void test_nothing_counted_is_not_visited(void **state)
{
    struct request_counters counters = {0};
    struct request_counts counts = {0};

    request_counts_add(&counts, &counters);
    assert_counts(&counts, "");
}

static void test_requests_are_counted_by_kind(void **state)
{
    struct request_counters counters = {0};
    struct request_counts counts = {0};

    count(&counters, FUSE_READ);
    count(&counters, FUSE_LOOKUP);
    count(&counters, FUSE_READ);
    request_counts_add(&counts, &counters);
    assert_counts(&counts, "lookup 1 read 2 ");
}

static void test_unknown_kinds_and_short_requests_are_counted_together(void **state)
{
    struct request_counters counters = {0};
    struct request_counts counts = {0};
    const struct fuse_in_header header = {.opcode = FUSE_READ};

    count(&counters, 0);
    count(&counters, REQUEST_KINDS - 1);
    count(&counters, REQUEST_KINDS);
    count(&counters, UINT32_MAX);
    request_counters_count(&counters, &header, sizeof(header) - 1);
    request_counts_add(&counts, &counters);
    assert_counts(&counts, "other 5 ");
}

static void test_counters_of_two_sessions_add_up(void **state)
{
    struct request_counters a = {0}, b = {0};
    struct request_counts counts = {0};

    count(&a, FUSE_OPEN);
    count(&b, FUSE_OPEN);
    count(&b, FUSE_INIT);
    request_counts_add(&counts, &a);
    request_counts_add(&counts, &b);
    assert_counts(&counts, "open 2 init 1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_counted_is_not_visited),
        cmocka_unit_test(test_requests_are_counted_by_kind),
        cmocka_unit_test(test_unknown_kinds_and_short_requests_are_counted_together),
        cmocka_unit_test(test_counters_of_two_sessions_add_up),
    };

    return cmocka_run_group_tests_name("request_counts", tests, NULL, NULL);
}
