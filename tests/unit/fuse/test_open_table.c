/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/open_table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N 200u

static void files_are_found_by_handle(void **state)
{
    struct open_table table = {.slots = NULL};
    struct open_file files[N] = {{.handle = 0}};

    assert_null(open_table_find(&table, 0));
    assert_null(open_table_find(&table, 1));
    for (uint32_t i = 0; i < N; i++) {
        files[i].unique = UINT64_C(2) * (i + 1);
        assert_int_equal(open_table_add(&table, &files[i]), 0);
        assert_int_equal(open_table_index(files[i].handle), i);
    }
    for (uint32_t i = 0; i < N; i++) {
        assert_ptr_equal(open_table_find(&table, files[i].handle), &files[i]);
        assert_ptr_equal(open_table_find_request(&table, files[i].unique), &files[i]);
        assert_ptr_equal(open_table_at(&table, i), &files[i]);
    }
    assert_null(open_table_find_request(&table, 1));
    assert_null(open_table_at(&table, UINT32_MAX));
    open_table_deinit(&table);
}

/* A request that is sent again may be about an open file that was closed. */
static void handle_is_not_used_again(void **state)
{
    struct open_table table = {.slots = NULL};
    struct open_file first = {.unique = 2}, second = {.unique = 4};

    assert_int_equal(open_table_add(&table, &first), 0);
    open_table_remove(&table, &first);
    assert_int_equal(open_table_add(&table, &second), 0);
    assert_int_equal(open_table_index(first.handle), open_table_index(second.handle));
    assert_null(open_table_find(&table, first.handle));
    assert_ptr_equal(open_table_find(&table, second.handle), &second);
    open_table_deinit(&table);
}

static void handles_mean_the_same_to_the_next_process(void **state)
{
    struct open_table earlier = {.slots = NULL}, table = {.slots = NULL};
    struct open_file files[N] = {{.handle = 0}}, added = {.unique = 1000};
    uint32_t n_slots;

    for (uint32_t i = 0; i < N; i++) {
        files[i].unique = UINT64_C(2) * (i + 1);
        assert_int_equal(open_table_add(&earlier, &files[i]), 0);
    }
    for (uint32_t i = N; i > 0; i--)
        if (i != 8)
            assert_int_equal(open_table_adopt(&table, &files[i - 1]), 0);
    assert_int_equal(open_table_adopt(&table, &files[0]), -EEXIST);
    open_table_end_adopting(&table);
    assert_ptr_equal(open_table_find(&table, files[3].handle), &files[3]);
    assert_null(open_table_find(&table, files[7].handle));
    n_slots = table.n_slots;
    assert_int_equal(open_table_add(&table, &added), 0);
    assert_int_equal(open_table_index(added.handle), 7);
    assert_int_equal(table.n_slots, n_slots);
    open_table_deinit(&earlier);
    open_table_deinit(&table);
}

static void invalid_handles_are_refused(void **state)
{
    static const uint64_t handles[] = {0, 2, UINT64_C(3) << 32 | 1, OPEN_TABLE_MAX + UINT64_C(1)};
    struct open_table table = {.slots = NULL};

    for (size_t i = 0; i < sizeof(handles) / sizeof(*handles); i++) {
        struct open_file file = {.handle = handles[i], .unique = 2};

        assert_int_equal(open_table_adopt(&table, &file), -EINVAL);
    }
    open_table_deinit(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_found_by_handle),
        cmocka_unit_test(handle_is_not_used_again),
        cmocka_unit_test(handles_mean_the_same_to_the_next_process),
        cmocka_unit_test(invalid_handles_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
