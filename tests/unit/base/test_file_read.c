/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_read.h"
#include "tests/unit/assert_between.h"

static unsigned n_missing; /* the next opens that find nothing */
static unsigned n_opens;

int openat(int dir_fd, const char *path, int flags, ...)
{
    n_opens++;
    if (n_missing > 0) {
        n_missing--;
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat, dir_fd, path, flags, 0);
}

static int setup(void **state)
{
    static char path[] = "/tmp/file_read.XXXXXX";
    _cleanup_(fd_closep) int fd = mkstemp(path);

    assert_int_equal(write(fd, "text", 4), 4);
    *state = path;
    return 0;
}

static int teardown(void **state)
{
    return unlink(*state);
}

/* As when ..data of a kubelet's volume is renamed while the kernel follows it. */
static void loads_a_file_that_was_missing_for_a_moment(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(16);
    struct error e = ERROR_INIT;

    n_missing = 1;
    assert_int_equal(file_load(*state, &text, &e), 0);
    assert_string_equal(buf_text(&text), "text");
}

static void reports_a_missing_file(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(16);
    struct error e = ERROR_INIT;

    n_opens = 0;
    assert_int_equal(file_load("/tmp/file_read.missing", &text, &e), -ENOENT);
    assert_string_equal(e.text, "cannot read /tmp/file_read.missing: No such file or directory");
    assert_between(n_opens, 2, 8);
}

static void reports_a_directory(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(16);
    struct error e = ERROR_INIT;

    assert_int_equal(file_load("/tmp", &text, &e), -EISDIR);
    assert_string_equal(e.text, "cannot read /tmp: expected a regular file, not a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_a_file_that_was_missing_for_a_moment),
        cmocka_unit_test(reports_a_missing_file),
        cmocka_unit_test(reports_a_directory),
    };

    return cmocka_run_group_tests_name("file_read", tests, setup, teardown);
}
