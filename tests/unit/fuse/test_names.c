/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/names.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/failmalloc.h"

static void a_path_begins_at_the_root(void **state)
{
    static const struct {
        const char *directory, *name, *path;
    } cases[] = {
        {"v", "..g", "v/..g"}, {".", "..g", "..g"},   {"", "a", "a"}, {"v/..g", "", "v/..g"},
        {".", "", ""},         {"v", "d/e", "v/d/e"}, {"", "", ""},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(freep) char *path = names_join(cases[i].directory, cases[i].name);

        assert_string_equal(path, cases[i].path);
    }
}

static void memory_can_be_short_for_a_path(void **state)
{
#ifdef FAILMALLOC_IS_OFF
    skip();
#else
    char *path;

    failmalloc.countdown = 1;
    failmalloc.has_failed = false;
    failmalloc.is_on = true;
    path = names_join(".", "..g");
    failmalloc.is_on = false;
    assert_true(failmalloc.has_failed);
    assert_null(path);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_begins_at_the_root),
        cmocka_unit_test(memory_can_be_short_for_a_path),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
