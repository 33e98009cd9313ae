/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/mount_root.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define TS "..2026_01_02_03_04_05.678"

static void check(const char *text, const char *expected)
{
    char copy[128], found[256] = "none";
    struct mount_root root;

    snprintf(copy, sizeof(copy), "%s", text);
    if (mount_root_parse(copy, &root) && root.live_id != 0)
        snprintf(found, sizeof(found), "live %llu%s", (unsigned long long)root.live_id,
                 root.is_deleted ? " deleted" : "");
    else if (root.generation != NULL)
        snprintf(found, sizeof(found), "%s %s \"%s\"%s", root.volume, root.generation, root.path,
                 root.is_deleted ? " deleted" : "");
    assert_string_equal(found, expected);
}

static void test_parts_of_generations(void **state)
{
    check("/v/" TS "/key", "v " TS " \"key\"");
    check("/v/" TS "/d/key", "v " TS " \"d/key\"");
    check("/v/" TS, "v " TS " \"\"");
    check("/" TS "/key", ". " TS " \"key\"");
    check("/v/" TS "/key//deleted", "v " TS " \"key\" deleted");
}

static void test_live_parts(void **state)
{
    check("/.live/17", "live 17");
    check("/.live/17//deleted", "live 17 deleted");
    check("/.live/17/d/key", "live 17");
}

static void test_what_is_no_part(void **state)
{
    static const char *const texts[] = {"",
                                        "/",
                                        "/v",
                                        "/v/key",
                                        "/v/..data/key",
                                        "/.live",
                                        "/.live/0",
                                        "/.live/key",
                                        "//deleted",
                                        "v/" TS,
                                        "/v/w/" TS,
                                        "/v/..2026_01_02",
                                        "/.live/",
                                        "/v//deleted",
                                        "/v/..2026_01_02_03_04_05.",
                                        "/v/..2026_01_02_03_04_05.x"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct mount_root root;
        char copy[128];

        snprintf(copy, sizeof(copy), "%s", texts[i]);
        assert_false(mount_root_parse(copy, &root));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_generations),
        cmocka_unit_test(test_live_parts),
        cmocka_unit_test(test_what_is_no_part),
    };

    return cmocka_run_group_tests_name("mount_root", tests, NULL, NULL);
}
