/* SPDX-License-Identifier: Apache-2.0 */
#include "base/standard_streams.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define FAILED 2

/*
 * Release the streams in a process for which they are all @fd, and use them.
 * Return: whether there was a log file; FAILED.
 */
static int release(int fd)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        bool has_log_file;
        char byte;

        if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
            dup2(fd, STDERR_FILENO) < 0)
            _exit(FAILED);
        has_log_file = standard_streams_have_log_file();
        standard_streams_release();
        if (write(STDOUT_FILENO, "o", 1) != 1 || write(STDERR_FILENO, "e", 1) != 1 ||
            read(STDIN_FILENO, &byte, 1) != 0)
            _exit(FAILED);
        _exit(has_log_file);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_pipe_is_let_go(void **state)
{
    int ends[2];
    char byte;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(release(ends[1]), false);
    fd_close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* nothing was written, no copy is open */
    fd_close(ends[0]);
}

static void test_a_log_file_stays(void **state)
{
    _cleanup_(fd_closep) int fd = memfd_create("log", MFD_CLOEXEC);
    char bytes[2];

    assert_true(fd >= 0);
    assert_int_equal(release(fd), true);
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 1);
    assert_int_equal(bytes[0], 'e');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pipe_is_let_go),
        cmocka_unit_test(test_a_log_file_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
