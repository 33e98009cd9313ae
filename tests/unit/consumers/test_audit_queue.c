/* SPDX-License-Identifier: Apache-2.0 */
/* Which lines of the audit are kept, dropped and counted, on a clock of the test's. */
#include "consumers/audit_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

#define VOLUME 2u
#define START  SPAN_SEC(100)

static const struct object_key db = {.kind = OBJECT_SECRET, .namespace = "prod", .name = "db"};
static const struct audit_open one_open = {.object = &db, .key = "a", .version = "1"};

#define QUEUE(q)                                                                                   \
    _cleanup_(audit_queue_freep) struct audit_queue *q = NULL;                                     \
    assert_int_equal(audit_queue_new(START, &q), 0)

static void add_volume(struct audit_queue *q, uint64_t id, const char *pod)
{
    const struct audit_volume name = {.namespace = "prod", .pod = pod, .mountpoint = "/x"};

    assert_int_equal(audit_queue_add_volume(q, id, &name, START), 0);
}

static void add_opens(struct audit_queue *q, uint64_t volume, unsigned n, mono_us now)
{
    for (unsigned i = 0; i < n; i++)
        audit_queue_add(q, volume, &one_open, now);
}

static char taken[2 * AUDIT_QUEUE_MAX];

/* All lines are in @taken. Return: those that contain @word. */
static unsigned take(struct audit_queue *q, mono_us now, const char *word)
{
    const struct timespec wall = {.tv_sec = 1};
    size_t len = 0, n;
    unsigned found = 0;

    while ((n = audit_queue_take(q, now, wall, taken + len, AUDIT_LINE_SIZE)) > 0) {
        assert_int_equal(taken[len + n - 1], '\n');
        len += n;
    }
    taken[len] = '\0';
    for (const char *at = taken; (at = strstr(at, word)) != NULL; at++)
        found++;
    return found;
}

static void test_lines_come_in_their_order(void **state)
{
    QUEUE(q);

    add_volume(q, VOLUME, "web-0");
    add_volume(q, VOLUME + 1, "web-1");
    assert_int_equal(audit_queue_due_at(q), SPAN_FOREVER);
    add_opens(q, VOLUME + 1, 1, START);
    add_opens(q, VOLUME, 1, START);
    assert_int_equal(audit_queue_due_at(q), 0);
    assert_int_equal(take(q, START, "\"open\""), 2);
    assert_true(strstr(taken, "web-1") < strstr(taken, "web-0"));
    assert_int_equal(take(q, START, "\n"), 0);
}

static void test_volume_has_a_limit_and_gets_more_with_time(void **state)
{
    QUEUE(q);

    add_volume(q, VOLUME, "web-0");
    add_volume(q, VOLUME + 1, "web-1");
    add_opens(q, VOLUME, AUDIT_VOLUME_LINES + 5, START);
    add_opens(q, VOLUME + 1, 1, START);
    assert_int_equal(audit_queue_dropped(q), 5);
    assert_int_equal(take(q, START, "\"open\""), AUDIT_VOLUME_LINES + 1);
    add_opens(q, VOLUME, 2, START + AUDIT_VOLUME_SPAN);
    assert_int_equal(audit_queue_dropped(q), 6);
    assert_int_equal(take(q, START + AUDIT_VOLUME_SPAN, "\"open\""), 1);
    add_opens(q, VOLUME, AUDIT_VOLUME_LINES, START + (AUDIT_VOLUME_LINES + 1) * AUDIT_VOLUME_SPAN);
    assert_int_equal(audit_queue_dropped(q), 6);
}

static void test_line_says_how_many_were_dropped(void **state)
{
    QUEUE(q);

    add_volume(q, VOLUME, "web-0");
    add_opens(q, VOLUME, AUDIT_VOLUME_LINES + 5, START);
    take(q, START, "\n");
    assert_int_equal(audit_queue_due_at(q), START + AUDIT_REPORT_AFTER);
    assert_int_equal(take(q, START + AUDIT_REPORT_AFTER - 1, "\n"), 0);
    assert_int_equal(take(q, START + AUDIT_REPORT_AFTER, "\n"), 1);
    assert_non_null(strstr(taken, "\"event\":\"dropped\",\"namespace\":\"prod\",\"pod\":\"web-0\","
                                  "\"count\":5"));
    assert_int_equal(audit_queue_due_at(q), SPAN_FOREVER);
    add_opens(q, VOLUME, AUDIT_VOLUME_LINES, START);
    assert_int_equal(take(q, SPAN_FOREVER, "\"count\":640"), 1); /* at the end */
}

static void test_opens_that_were_not_seen_of_a_volume(void **state)
{
    QUEUE(q);

    add_volume(q, VOLUME, "web-0");
    audit_queue_drop(q, VOLUME, 7, START);
    audit_queue_drop(q, VOLUME + 1, 2, START); /* is not known */
    assert_int_equal(audit_queue_dropped(q), 9);
    assert_int_equal(take(q, SPAN_FOREVER, "\n"), 2);
    assert_non_null(strstr(taken, "\"pod\":\"web-0\",\"count\":7"));
    assert_non_null(strstr(taken, "\"event\":\"dropped\",\"count\":2}"));
}

static void test_count_of_a_volume_that_is_gone(void **state)
{
    QUEUE(q);

    add_volume(q, VOLUME, "web-0");
    add_opens(q, VOLUME, AUDIT_VOLUME_LINES + 5, START);
    audit_queue_remove_volume(q, VOLUME);
    audit_queue_remove_volume(q, VOLUME);
    add_opens(q, VOLUME, 1, START);
    assert_int_equal(take(q, SPAN_FOREVER, "\"event\":\"dropped\",\"count\":6}"), 1);
}

static void test_node_has_a_limit(void **state)
{
    const unsigned n_volumes = AUDIT_NODE_LINES / AUDIT_VOLUME_LINES + 1;
    unsigned n_open = 0;
    QUEUE(q);

    for (unsigned i = 0; i < n_volumes; i++) {
        add_volume(q, VOLUME + i, "web");
        add_opens(q, VOLUME + i, AUDIT_VOLUME_LINES, START);
        n_open += take(q, START, "\"open\"");
    }
    assert_int_equal(n_open, AUDIT_NODE_LINES);
    assert_int_equal(audit_queue_dropped(q), n_volumes * AUDIT_VOLUME_LINES - AUDIT_NODE_LINES);
}

/* Nothing is taken, as from a full disk. */
static void test_bytes_that_wait_are_bounded(void **state)
{
    unsigned n_volumes = AUDIT_NODE_LINES / AUDIT_VOLUME_LINES, n_written, n_report;
    QUEUE(q);

    for (unsigned i = 0; i < n_volumes; i++) {
        add_volume(q, VOLUME + i, "web");
        add_opens(q, VOLUME + i, AUDIT_VOLUME_LINES, START);
    }
    assert_true(audit_queue_dropped(q) > 0);
    n_written = take(q, SPAN_FOREVER, "\"open\"");
    assert_true(strlen(taken) <= AUDIT_QUEUE_MAX);
    assert_int_equal(n_written + audit_queue_dropped(q), n_volumes * AUDIT_VOLUME_LINES);
    n_report = take(q, SPAN_FOREVER, "dropped"); /* the line did not fit before, or it did */
    assert_int_equal(n_report, 0);
    assert_int_equal(audit_queue_due_at(q), SPAN_FOREVER);
}

static void test_lost_opens_are_one_line(void **state)
{
    QUEUE(q);

    audit_queue_note_lost(q, START);
    audit_queue_note_lost(q, START + 1);
    assert_int_equal(take(q, START, "\n"), 0);
    assert_int_equal(take(q, START + AUDIT_REPORT_AFTER, "\"event\":\"lost\""), 1);
    assert_int_equal(take(q, SPAN_FOREVER, "\n"), 0);
}

static int try_volume(void *userdata)
{
    const struct audit_volume name = {.namespace = "prod", .pod = "web-0", .mountpoint = "/x"};
    _cleanup_(audit_queue_freep) struct audit_queue *q = NULL;
    int r = audit_queue_new(START, &q);

    if (r == 0)
        r = audit_queue_add_volume(q, VOLUME, &name, START);
    if (r < 0)
        return r;
    add_opens(q, VOLUME, 1, START);
    assert_int_equal(take(q, START, "\n") + audit_queue_dropped(q), 1);
    return 0;
}

static void test_lack_of_memory(void **state)
{
    failmalloc_try(try_volume, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_come_in_their_order),
        cmocka_unit_test(test_volume_has_a_limit_and_gets_more_with_time),
        cmocka_unit_test(test_line_says_how_many_were_dropped),
        cmocka_unit_test(test_opens_that_were_not_seen_of_a_volume),
        cmocka_unit_test(test_count_of_a_volume_that_is_gone),
        cmocka_unit_test(test_node_has_a_limit),
        cmocka_unit_test(test_bytes_that_wait_are_bounded),
        cmocka_unit_test(test_lost_opens_are_one_line),
        cmocka_unit_test(test_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
