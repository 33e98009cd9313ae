/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "node/safe_path.h"

static char base[] = "/tmp/test_safe_path.XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", base, name);
    return path;
}

/* Return: 0 if it is safe and *ret_name is the last name; -errno. */
static int open_parent(const char *name, struct error *e)
{
    const char *last = NULL;
    int fd = safe_path_open_parent(path_of(name), &last, e);

    if (fd < 0)
        return fd;
    assert_string_equal(last, strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name);
    fd_close(fd);
    return 0;
}

static void test_directories_of_root(void **state)
{
    struct error e = ERROR_INIT;

    assert_int_equal(open_parent("a", &e), 0);
    assert_int_equal(mkdir(path_of("d"), 0755), 0);
    assert_int_equal(open_parent("d/a", &e), 0);
    assert_int_equal(open_parent("missing/a", &e), -ENOENT);
    assert_int_equal(rmdir(path_of("d")), 0);
}

static void test_writable_by_others(void **state)
{
    static const mode_t unsafe[] = {0777, 0775, 0757};
    struct error e = ERROR_INIT;

    assert_int_equal(mkdir(path_of("d"), 0755), 0);
    for (size_t i = 0; i < ELEMENTS_OF(unsafe); i++) {
        assert_int_equal(chmod(path_of("d"), unsafe[i]), 0);
        assert_int_equal(open_parent("d/a", &e), -EPERM);
        assert_non_null(strstr(e.text, "unsafe path"));
        assert_int_equal(open_parent("d/deep/a", &e), -EPERM);
    }
    assert_int_equal(chmod(path_of("d"), 01777), 0);
    assert_int_equal(open_parent("d/a", &e), 0);
    assert_int_equal(rmdir(path_of("d")), 0);
}

static void test_links(void **state)
{
    struct error e = ERROR_INIT;

    assert_int_equal(mkdir(path_of("d"), 0755), 0);
    assert_int_equal(symlink("d", path_of("link")), 0);
    assert_int_equal(symlink("loop", path_of("loop")), 0);
    assert_int_equal(open_parent("link/a", &e), 0);
    assert_int_equal(open_parent("loop/a", &e), -ELOOP);
    assert_int_equal(chmod(path_of("d"), 0777), 0);
    assert_int_equal(open_parent("link/a", &e), -EPERM);
    assert_int_equal(unlink(path_of("loop")), 0);
    assert_int_equal(unlink(path_of("link")), 0);
    assert_int_equal(rmdir(path_of("d")), 0);
}

static void test_not_a_directory(void **state)
{
    struct error e = ERROR_INIT;
    FILE *file = fopen(path_of("file"), "we");

    assert_non_null(file);
    fclose(file);
    assert_int_equal(open_parent("file/a", &e), -ENOTDIR);
    assert_int_equal(unlink(path_of("file")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directories_of_root),
        cmocka_unit_test(test_writable_by_others),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_not_a_directory),
    };
    const char *made = mkdtemp(base);
    int r;

    assert(made != NULL);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(base);
    return r;
}
