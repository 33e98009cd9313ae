/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and directories. Mounts need root, and are tested with real mounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "node/target.h"

static char root[] = "/tmp/secretfs-target-XXXXXX";
static struct target_area area = {.root = root};

static const char *path_of(const char *rest)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", root, rest);
    return path;
}

static void make_dir(const char *rest)
{
    assert_int_equal(mkdir(path_of(rest), 0700), 0);
}

static bool exists(const char *rest)
{
    struct stat status;

    return lstat(path_of(rest), &status) == 0;
}

static void test_invalid_paths_are_refused(void **state)
{
    static const char *const below[] = {"", "a/", "a/..", "..", "a/."};
    static const char *const elsewhere[] = {"/",      "",     "relative",
                                            "/etc/x", "/tmp", "/tmp/secretfs-target-other/a"};
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(below); i++)
        assert_int_equal(target_check(&area, path_of(below[i]), &e), -EINVAL);
    for (size_t i = 0; i < ELEMENTS_OF(elsewhere); i++)
        assert_int_equal(target_check(&area, elsewhere[i], &e), -EINVAL);
    assert_int_equal(target_check(&area, root, &e), -EINVAL);
    assert_int_equal(target_check(&area, path_of("a"), &e), 0);
    assert_int_equal(target_check(&area, path_of("a/b/c"), &e), 0);
}

/* /a/bc is not below /a/b. */
static void test_root_ends_with_an_element(void **state)
{
    char path[PATH_MAX];
    struct error e;

    snprintf(path, sizeof(path), "%s-more/a", root);
    assert_int_equal(target_check(&area, path, &e), -EINVAL);
}

static void test_created_and_removed(void **state)
{
    struct stat status;
    uint64_t mount_id;
    int fd = -1;
    struct error e;

    make_dir("pod");
    assert_int_equal(target_make(&area, path_of("pod/mount"), &fd, &e), 0);
    fd = fd_close(fd);
    assert_true(exists("pod/mount"));
    /* again: it exists */
    assert_int_equal(target_make(&area, path_of("pod/mount"), &fd, &e), 0);
    fd = fd_close(fd);
    assert_false(target_shows(&area, path_of("pod/mount"), 1));
    assert_int_equal(stat(path_of("pod/mount"), &status), 0);
    assert_false(target_find_mount(&area, path_of("pod/mount"), status.st_dev, status.st_ino,
                                   &mount_id)); /* the directory is no mount */
    assert_int_equal(target_detach(&area, path_of("pod/mount"), &e), 0);
    assert_int_equal(target_remove(&area, path_of("pod/mount"), &e), 0);
    assert_false(exists("pod/mount"));
    assert_int_equal(target_detach(&area, path_of("pod/mount"), &e), 0);
    assert_int_equal(target_remove(&area, path_of("pod/mount"), &e), 0);
    assert_false(target_is_gone(&area, path_of("pod/mount")));
    assert_int_equal(rmdir(path_of("pod")), 0);
    assert_true(target_is_gone(&area, path_of("pod/mount")));
    assert_int_equal(target_remove(&area, path_of("pod/mount"), &e), 0);
}

/* The kubelet creates it (S6). */
static void test_parent_directory_is_not_created(void **state)
{
    int fd = -1;
    struct error e;

    assert_int_equal(target_make(&area, path_of("x/y/z"), &fd, &e), -ENOENT);
    assert_false(exists("x"));
}

static void test_links_are_not_followed(void **state)
{
    int fd = -1;
    struct error e;

    make_dir("elsewhere");
    assert_int_equal(symlink("elsewhere", path_of("link")), 0);
    assert_int_equal(target_make(&area, path_of("link/mount"), &fd, &e), -EINVAL);
    assert_non_null(strstr(e.text, "symbolic link"));
    assert_int_equal(target_make(&area, path_of("link"), &fd, &e), -EINVAL);
    assert_int_not_equal(target_remove(&area, path_of("link/mount"), &e), 0);
    assert_false(exists("elsewhere/mount"));
    assert_int_equal(target_detach(&area, path_of("link"), &e), 0);
    assert_int_equal(unlink(path_of("link")), 0);
    assert_int_equal(rmdir(path_of("elsewhere")), 0);
}

static void test_not_a_directory(void **state)
{
    int fd = open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    struct error e;

    assert_true(fd >= 0);
    fd = fd_close(fd);
    assert_int_equal(target_make(&area, path_of("file"), &fd, &e), -EINVAL);
    assert_non_null(strstr(e.text, "is not a directory"));
    assert_int_equal(target_remove(&area, path_of("file"), &e), -ENOTDIR);
    assert_true(exists("file"));
    assert_int_equal(unlink(path_of("file")), 0);
}

static void test_directory_not_empty(void **state)
{
    struct error e;

    make_dir("mount");
    make_dir("mount/inside");
    assert_int_equal(target_remove(&area, path_of("mount"), &e), -ENOTEMPTY);
    assert_non_null(strstr(e.text, path_of("mount")));
    assert_int_equal(rmdir(path_of("mount/inside")), 0);
    assert_int_equal(target_remove(&area, path_of("mount"), &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invalid_paths_are_refused),
        cmocka_unit_test(test_root_ends_with_an_element),
        cmocka_unit_test(test_created_and_removed),
        cmocka_unit_test(test_parent_directory_is_not_created),
        cmocka_unit_test(test_links_are_not_followed),
        cmocka_unit_test(test_not_a_directory),
        cmocka_unit_test(test_directory_not_empty),
    };
    const char *made;
    int r;

    made = mkdtemp(root);
    assert(made != NULL);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(root);
    return r;
}
