/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mountinfo.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "base/cleanup.h"

static bool parse(const char *text, char buf[static 512], struct mountinfo *ret_mount)
{
    snprintf(buf, 512, "%s", text);
    return mountinfo_parse(buf, ret_mount);
}

static void test_line(void **state)
{
    char buf[512];
    struct mountinfo m;

    assert_true(parse("66 45 0:39 /..2026_11_24/a//deleted /mnt/a ro,nosuid,relatime shared:3 "
                      "master:1 - fuse.secretfs secret/db rw,user_id=0,allow_other\n",
                      buf, &m));
    assert_int_equal(m.id, 66);
    assert_int_equal(m.parent_id, 45);
    assert_int_equal(m.device, makedev(0, 39));
    assert_string_equal(m.root, "/..2026_11_24/a//deleted");
    assert_string_equal(m.mountpoint, "/mnt/a");
    assert_string_equal(m.options, "ro,nosuid,relatime");
    assert_string_equal(m.fs_type, "fuse.secretfs");
    assert_string_equal(m.source, "secret/db");
    assert_string_equal(m.super_options, "rw,user_id=0,allow_other");
}

static void test_escapes(void **state)
{
    char buf[512];
    struct mountinfo m;

    assert_true(parse("1 1 8:1 /a\\040b\\134040 /m\\011\\012x rw - ext4 /dev/d\\040 rw", buf, &m));
    assert_string_equal(m.root, "/a b\\040");
    assert_string_equal(m.mountpoint, "/m\t\nx");
    assert_string_equal(m.source, "/dev/d ");
}

static void test_invalid_lines_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "1 1 8:1 / /",
        "1 1 8:1 / / rw",
        "1 1 8:1 / / rw shared:1",
        "1 1 8:1 / / rw - ext4 /dev/x",
        "x 1 8:1 / / rw - ext4 /dev/x rw",
        "1 x 8:1 / / rw - ext4 /dev/x rw",
        "1 1 8 / / rw - ext4 /dev/x rw",
    };
    char buf[512];
    struct mountinfo m;

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++)
        assert_false(parse(texts[i], buf, &m));
}

struct seen {
    size_t n;
    size_t limit;
    bool has_root;
};

static bool note(void *userdata, const struct mountinfo *mount)
{
    struct seen *seen = userdata;

    seen->n++;
    seen->has_root |= streq(mount->mountpoint, "/");
    return seen->n < seen->limit;
}

static void test_visit(void **state)
{
    struct seen all = {.limit = SIZE_MAX}, first = {.limit = 1};

    assert_int_equal(mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", note, &all), 0);
    assert_true(all.has_root);
    assert_int_equal(mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", note, &first), 0);
    assert_int_equal(first.n, 1);
    assert_int_equal(mountinfo_visit(AT_FDCWD, "/proc/self/no-such-file", note, &all), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_invalid_lines_are_refused),
        cmocka_unit_test(test_visit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
