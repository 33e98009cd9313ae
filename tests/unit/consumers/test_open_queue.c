/* SPDX-License-Identifier: Apache-2.0 */
/* Opens that wait for the table: in turn, each once, and within limits. */
#include "consumers/open_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

#define A 2u /* volumes */
#define B 3u

static struct object *make_object(void)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "db"},
                                .resource_version = "1"};
    const struct object_input input = {.key = "a", .text = "dummy", .len = 5};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    return object;
}

struct fixture {
    struct open_queue *queue;
    struct object *object;
};

static int setup(void **state)
{
    static struct fixture f;

    f.object = make_object();
    assert_int_equal(open_queue_new(&f.queue), 0);
    assert_int_equal(open_queue_add_volume(f.queue, A), 0);
    assert_int_equal(open_queue_add_volume(f.queue, B), 0);
    assert_int_equal(open_queue_add_volume(f.queue, A), 0);
    *state = &f;
    return 0;
}

/* A reference that was not given back is a leak, which the sanitizer reports. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    f->queue = open_queue_free(f->queue);
    object_unref(f->object);
    return 0;
}

/* At that second and tick. Return: as open_queue_add(). */
static bool add(struct fixture *f, uint64_t volume, pid_t thread, uint64_t edition, unsigned at)
{
    const struct queued_open open = {
        .opened = {.file = {.volume = volume, .edition = edition, .content = {.object = f->object}},
                   .thread = thread},
        .at = {.tv_sec = (time_t)at},
        .ticks = at};

    return open_queue_add(f->queue, &open);
}

static struct open_queue_turn take(struct fixture *f)
{
    struct open_queue_turn turn;

    assert_true(open_queue_take(f->queue, &turn));
    assert_true(open_queue_is_waiting(f->queue, turn.volume));
    open_queue_end_turn(f->queue);
    if (turn.has_open)
        object_unref(turn.open.opened.file.content.object);
    return turn;
}

static void must_take(struct fixture *f, uint64_t volume, pid_t thread, uint64_t edition)
{
    const struct open_queue_turn turn = take(f);

    assert_true(turn.has_open);
    assert_int_equal(turn.n_lost, 0);
    assert_int_equal(turn.volume, volume);
    assert_int_equal(turn.open.opened.thread, thread);
    assert_int_equal(turn.open.opened.file.edition, edition);
}

static void must_be_empty(struct fixture *f)
{
    struct open_queue_turn turn;

    assert_false(open_queue_take(f->queue, &turn));
    assert_false(open_queue_is_waiting(f->queue, A));
    assert_false(open_queue_is_waiting(f->queue, B));
}

static void test_volumes_take_turns(void **state)
{
    struct fixture *f = *state;

    assert_true(add(f, A, 10, 1, 1));
    assert_false(add(f, A, 11, 1, 1));
    assert_false(add(f, A, 12, 1, 1));
    assert_false(add(f, B, 20, 1, 1));
    must_take(f, A, 10, 1);
    must_take(f, B, 20, 1);
    assert_true(open_queue_is_waiting(f->queue, A));
    assert_false(open_queue_is_waiting(f->queue, B));
    must_take(f, A, 11, 1);
    must_take(f, A, 12, 1);
    must_be_empty(f);
    assert_true(add(f, B, 20, 1, 1));
}

/* It gets the last time, and keeps the ticks of the first, whose thread it was. */
static void test_repetition_waits_once(void **state)
{
    struct fixture *f = *state;
    struct open_queue_turn turn;

    for (unsigned at = 1; at <= 2 * OPEN_QUEUE_VOLUME_MAX; at++) {
        add(f, A, 10, 1, at);
        add(f, A, 10, 2, at);
        add(f, A, 11, 1, at);
    }
    turn = take(f);
    assert_int_equal(turn.open.at.tv_sec, 2 * OPEN_QUEUE_VOLUME_MAX);
    assert_int_equal(turn.open.ticks, 1);
    must_take(f, A, 10, 2);
    must_take(f, A, 11, 1);
    must_be_empty(f);
}

/* The volume alone loses what is too much. */
static void test_full_queue_loses_opens_of_its_volume(void **state)
{
    struct fixture *f = *state;
    struct open_queue_turn turn;

    for (unsigned i = 0; i < OPEN_QUEUE_VOLUME_MAX + 3; i++)
        add(f, A, 10, 1 + i, 1);
    add(f, B, 20, 1, 1);
    turn = take(f);
    assert_true(turn.has_open);
    assert_int_equal(turn.n_lost, 3);
    must_take(f, B, 20, 1);
    for (unsigned i = 1; i < OPEN_QUEUE_VOLUME_MAX; i++)
        must_take(f, A, 10, 1 + i);
    must_be_empty(f);
}

/* The ring works from each first place. */
static void test_queue_that_is_used_again(void **state)
{
    struct fixture *f = *state;
    uint64_t taken = 1;

    for (uint64_t edition = 1; edition <= 5ul * OPEN_QUEUE_VOLUME_MAX; edition++) {
        add(f, A, 10, edition, 1);
        if (edition % 3 == 0)
            must_take(f, A, 10, taken++);
        if (edition % 600 == 0)
            while (taken <= edition)
                must_take(f, A, 10, taken++);
    }
}

static void test_unknown_volume(void **state)
{
    struct fixture *f = *state;

    assert_false(add(f, 99, 10, 1, 1));
    open_queue_remove_volume(f->queue, 99);
    must_be_empty(f);
}

/* Also while one of its opens is on its way into the table. */
static void test_removed_volume_has_nothing_that_waits(void **state)
{
    struct fixture *f = *state;
    struct open_queue_turn turn;

    add(f, A, 10, 1, 1);
    add(f, A, 11, 1, 1);
    add(f, B, 20, 1, 1);
    assert_true(open_queue_take(f->queue, &turn));
    open_queue_remove_volume(f->queue, A);
    assert_false(open_queue_is_waiting(f->queue, A));
    open_queue_end_turn(f->queue);
    object_unref(turn.open.opened.file.content.object);
    must_take(f, B, 20, 1);
    must_be_empty(f);
}

/* An open for which there is no memory is lost, and the volume says so. */
static int use_queue(void *userdata)
{
    struct fixture f = {.object = userdata};
    int r = open_queue_new(&f.queue);

    if (r == 0)
        r = open_queue_add_volume(f.queue, A);
    if (r == 0) {
        struct open_queue_turn turn;

        add(&f, A, 10, 1, 1);
        turn = take(&f);
        assert_int_equal(turn.has_open + turn.n_lost, 1);
        must_be_empty(&f);
    }
    open_queue_free(f.queue);
    return r;
}

static void test_memory_can_be_short(void **state)
{
    struct fixture *f = *state;

    failmalloc_try(use_queue, f->object);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_volumes_take_turns),
        TEST(test_repetition_waits_once),
        TEST(test_full_queue_loses_opens_of_its_volume),
        TEST(test_queue_that_is_used_again),
        TEST(test_unknown_volume),
        TEST(test_removed_volume_has_nothing_that_waits),
        TEST(test_memory_can_be_short),
    };

    return cmocka_run_group_tests_name("open queue", tests, NULL, NULL);
}
