/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

static void test_newest_entries_are_kept(void **state)
{
    struct history h = {.n = 0};

    assert_null(history_get(&h, 0));
    for (unsigned i = 1; i <= HISTORY_MAX + 3; i++) {
        char version[16];

        snprintf(version, sizeof(version), "%u", i);
        history_add(&h, i, version, (struct timespec){.tv_sec = i});
        history_add(&h, i, "", (struct timespec){.tv_sec = i});
    }
    for (unsigned i = 0; i < HISTORY_MAX; i++) {
        const struct history_entry *entry = history_get(&h, i);

        assert_non_null(entry);
        assert_int_equal(entry->source, i + 4);
        assert_int_equal(entry->at.tv_sec, i + 4);
    }
    assert_string_equal(history_get(&h, 0)->version, "4");
    assert_null(history_get(&h, HISTORY_MAX));
}

static void test_long_version_is_cut(void **state)
{
    struct history h = {.n = 0};

    history_add(&h, 0, "0123456789012345678901234567890123456789", (struct timespec){0});
    assert_string_equal(history_get(&h, 0)->version, "0123456789012345678901234567890");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest_entries_are_kept),
        cmocka_unit_test(test_long_version_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
