/* SPDX-License-Identifier: Apache-2.0 */
/* The directory and its lock. Leftovers are tested with real mounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "node/run_dir.h"

static char base[] = "/tmp/secretfs-run-dir-XXXXXX";
static char path[PATH_MAX];

static void remove_all(void)
{
    static const char *const names[] = {"fs", "fs-live"};
    char name[PATH_MAX + 32];

    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        snprintf(name, sizeof(name), "%s/%s", path, names[i]);
        rmdir(name);
    }
    snprintf(name, sizeof(name), "%s/node.lock", path);
    unlink(name);
    rmdir(path);
}

static void test_second_daemon_is_refused(void **state)
{
    int first = -1, second = -1;
    char pid[32];
    struct stat status;
    struct error e = ERROR_INIT;

    assert_int_equal(run_dir_open(path, &first, &e), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(run_dir_open(path, &second, &e), -EBUSY);
    snprintf(pid, sizeof(pid), "process %d", getpid());
    assert_non_null(strstr(e.text, pid));
    assert_non_null(strstr(e.text, path));
    first = fd_close(first);
    assert_int_equal(run_dir_open(path, &second, &e), 0);
    second = fd_close(second);
    remove_all();
}

static void test_writable_by_others_is_refused(void **state)
{
    int fd = -1;
    struct error e = ERROR_INIT;

    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(run_dir_open(path, &fd, &e), -EPERM);
    assert_non_null(strstr(e.text, "only its owner"));
    remove_all();
}

static void test_cannot_be_created(void **state)
{
    int fd = -1;
    struct error e = ERROR_INIT;

    assert_int_equal(run_dir_open("/nowhere/at/all", &fd, &e), -ENOENT);
    assert_non_null(strstr(e.text, "/nowhere/at/all"));
}

static void test_no_leftovers(void **state)
{
    struct error e = ERROR_INIT;

    assert_int_equal(run_dir_detach_leftovers(path, RUN_DIR_MOUNT, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_daemon_is_refused),
        cmocka_unit_test(test_writable_by_others_is_refused),
        cmocka_unit_test(test_cannot_be_created),
        cmocka_unit_test(test_no_leftovers),
    };
    const char *made;
    int r;

    made = mkdtemp(base);
    assert(made != NULL);
    snprintf(path, sizeof(path), "%s/run", base);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(base);
    return r;
}
