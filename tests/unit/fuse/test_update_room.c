/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fuse/update_room.h"

#include "tests/unit/make_payload.h"

static struct payload *small, *larger;

static int set_up(void **state)
{
    small = payload_make("a=1");
    larger = payload_make("a=1 b=2 c/d=3");
    return 0;
}

static int tear_down(void **state)
{
    payload_unref(small);
    payload_unref(larger);
    return 0;
}

static void content_and_paths_count(void **state)
{
    struct payload *deeper = payload_make("a=1 b=2 c/d/e=3"), *longer = payload_make("a=12");

    assert_true(update_room_of(larger) > update_room_of(small));
    assert_true(update_room_of(deeper) > update_room_of(larger));
    assert_int_equal(update_room_of(longer), update_room_of(small) + 1);
    payload_unref(deeper);
    payload_unref(longer);
}

static void one_waits_and_one_is_under_way(void **state)
{
    struct update_room room = {.waiting = 0};

    assert_int_equal(update_room_bytes(&room), 0);
    update_room_submit(&room, larger);
    assert_int_equal(update_room_bytes(&room), update_room_of(larger));
    update_room_submit(&room, small);
    assert_int_equal(update_room_bytes(&room), update_room_of(larger) + update_room_of(small));
    update_room_done(&room, larger, false);
    assert_int_equal(update_room_bytes(&room), update_room_of(small));
    update_room_done(&room, small, false);
    assert_int_equal(update_room_bytes(&room), 0);
}

/* A volume that is blocked gets updates without end. */
static void updates_that_replace_each_other_add_nothing(void **state)
{
    struct update_room room = {.waiting = 0};

    for (unsigned i = 0; i < 100; i++) {
        update_room_submit(&room, larger);
        update_room_submit(&room, small);
    }
    assert_int_equal(update_room_bytes(&room), update_room_of(larger) + update_room_of(small));
    update_room_done(&room, small, false); /* the loop learns of the last one only */
    assert_int_equal(update_room_bytes(&room), 0);
}

static void live_files_may_be_written_again(void **state)
{
    struct update_room room = {.waiting = 0};

    update_room_submit(&room, larger);
    update_room_done(&room, larger, true);
    assert_int_equal(update_room_bytes(&room), update_room_of(larger));
    update_room_submit(&room, small);
    update_room_done(&room, small, true);
    assert_int_equal(update_room_bytes(&room), update_room_of(small));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(content_and_paths_count),
        TEST(one_waits_and_one_is_under_way),
        TEST(updates_that_replace_each_other_add_nothing),
        TEST(live_files_may_be_written_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
