/* SPDX-License-Identifier: Apache-2.0 */
/* When a volume's consumers are signalled. The clock is the test's. */
#include "serve/update_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define START SPAN_SEC(1000)

static void test_nothing_is_due_without_an_update(void **state)
{
    struct update_pace pace = {.sent_at = 0};

    assert_int_equal(update_pace_due(&pace), SPAN_FOREVER);
}

static void test_first_update_is_due_at_once(void **state)
{
    struct update_pace pace = {.sent_at = 0};

    update_pace_update(&pace);
    assert_true(update_pace_due(&pace) <= START);
    update_pace_begin(&pace, START);
    assert_int_equal(update_pace_due(&pace), SPAN_FOREVER);
    update_pace_end(&pace);
    assert_int_equal(update_pace_due(&pace), SPAN_FOREVER);
}

static void test_updates_within_a_second_are_one(void **state)
{
    struct update_pace pace = {.sent_at = 0};

    update_pace_update(&pace);
    update_pace_begin(&pace, START);
    update_pace_end(&pace);
    for (int i = 0; i < 100; i++)
        update_pace_update(&pace);
    assert_int_equal(update_pace_due(&pace), START + SPAN_SEC(1));
    update_pace_begin(&pace, START + SPAN_SEC(1));
    update_pace_end(&pace);
    assert_int_equal(update_pace_due(&pace), SPAN_FOREVER);
}

/* Processes may have read the files before an update that comes while they are signalled. */
static void test_update_while_sending_is_signalled_again(void **state)
{
    struct update_pace pace = {.sent_at = 0};

    update_pace_update(&pace);
    update_pace_begin(&pace, START);
    update_pace_update(&pace);
    update_pace_update(&pace);
    assert_int_equal(update_pace_due(&pace), SPAN_FOREVER);
    update_pace_end(&pace);
    assert_int_equal(update_pace_due(&pace), START + SPAN_SEC(1));
}

static void test_update_after_a_long_time(void **state)
{
    struct update_pace pace = {.sent_at = 0};

    update_pace_update(&pace);
    update_pace_begin(&pace, START);
    update_pace_end(&pace);
    update_pace_update(&pace);
    assert_true(update_pace_due(&pace) <= START + SPAN_SEC(5));
}

static unsigned draw(unsigned n)
{
    static unsigned state = 1;

    state = state * 1103515245u + 12345u;
    return (state >> 16) % n;
}

/* Random events: at most one a second, and none is pending for ever. */
static void test_any_order(void **state)
{
    struct update_pace pace = {.sent_at = 0};
    bool is_sending = false, is_pending = false;
    mono_us now = START, last = 0;

    for (int i = 0; i < 100000; i++) {
        now += (mono_us)draw(300) * SPAN_MS(1);
        if (draw(2) == 0) {
            update_pace_update(&pace);
            is_pending = true;
        } else if (is_sending) {
            update_pace_end(&pace);
            is_sending = false;
        }
        assert_int_equal(update_pace_due(&pace) != SPAN_FOREVER, is_pending && !is_sending);
        if (update_pace_due(&pace) > now)
            continue;
        assert_true(last == 0 || now - last >= UPDATE_PACE_INTERVAL);
        last = now;
        update_pace_begin(&pace, now);
        is_sending = true;
        is_pending = false;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_due_without_an_update),
        cmocka_unit_test(test_first_update_is_due_at_once),
        cmocka_unit_test(test_updates_within_a_second_are_one),
        cmocka_unit_test(test_update_while_sending_is_signalled_again),
        cmocka_unit_test(test_update_after_a_long_time),
        cmocka_unit_test(test_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
