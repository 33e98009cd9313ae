/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/followers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TS "..2026_11_24_02_49_17.3438376822"

static void test_parts_of_generations(void **state)
{
    static const struct {
        const char *root, *volume, *generation, *path;
        bool is_deleted;
    } cases[] = {
        {"/" TS, ".", TS, "", false},
        {"/" TS "//deleted", ".", TS, "", true},
        {"/" TS "/a", ".", TS, "a", false},
        {"/" TS "/d/e/f//deleted", ".", TS, "d/e/f", true},
        {"/" TS "/..data", ".", TS, "..data", false},
        {"/" TS "/" TS, ".", TS, TS, false},
        {"/vol/" TS "/a", "vol", TS, "a", false},
        {"/pods/vol/" TS "/d/a//deleted", "pods/vol", TS, "d/a", true},
        {"/..x/" TS "/a b\n", "..x", TS, "a b\n", false},
        {"/..2026_11_24_02_49_17.1/a", ".", "..2026_11_24_02_49_17.1", "a", false},
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct follower_root root;
        char text[256];

        (void)snprintf(text, sizeof(text), "%s", cases[i].root);
        assert_true(follower_root_parse(text, &root));
        assert_string_equal(root.volume, cases[i].volume);
        assert_string_equal(root.generation, cases[i].generation);
        assert_string_equal(root.path, cases[i].path);
        assert_int_equal(root.is_deleted, cases[i].is_deleted);
    }
}

static void test_other_mounts(void **state)
{
    static const char *const roots[] = {
        "/",
        "",
        TS,
        "/vol",
        "/vol/",
        "/..data",
        "/..data_tmp",
        "/..2026_11_24_02_49_17",
        "/..2026_11_24_02_49_17.",
        "/..2026_11_24_02_49_17.x/a",
        "/..2026_11_24_02_49_x7.1/a",
        "/x" TS "/a",
        "//deleted",
    };

    (void)state;
    for (size_t i = 0; i < ELEMENTS_OF(roots); i++) {
        struct follower_root root;
        char text[256];

        (void)snprintf(text, sizeof(text), "%s", roots[i]);
        assert_false(follower_root_parse(text, &root));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_generations),
        cmocka_unit_test(test_other_mounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
