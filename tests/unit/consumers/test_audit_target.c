/* SPDX-License-Identifier: Apache-2.0 */
/* Files and sockets that the audit may and may not write to. */
#include "consumers/audit_target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"

static char dir[] = "/tmp/secretfs-audit-XXXXXX";
static char path[PATH_MAX], other[PATH_MAX];

static int make_dir(void **state)
{
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(other, sizeof(other), "%s/other", dir);
    return 0;
}

static int remove_dir(void **state)
{
    return rmdir(dir);
}

static int remove_files(void **state)
{
    unlink(path);
    unlink(other);
    return 0;
}

static struct audit_target parse(const char *text)
{
    struct audit_target target;
    struct error e = ERROR_INIT;

    assert_int_equal(audit_target_parse(text, &target, &e), 0);
    return target;
}

static void test_words(void **state)
{
    static const char *const invalid[] = {"", "log", "journald", "unix:", "unix:log", "unix"};
    char text[sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path)] = "unix:/";
    struct audit_target target;
    struct error e;

    assert_int_equal(parse("/log").kind, AUDIT_FILE);
    assert_int_equal(parse("journal").kind, AUDIT_JOURNAL);
    assert_int_equal(parse("unix:/s").kind, AUDIT_SOCKET);
    assert_string_equal(parse("unix:/s").path, "/s");
    for (size_t i = 0; i < ELEMENTS_OF(invalid); i++)
        assert_int_equal(audit_target_parse(invalid[i], &target, &e), -EINVAL);
    memset(text + strlen(text), 's', sizeof(text) - 1 - strlen(text));
    assert_int_equal(audit_target_parse(text, &target, &e), -EINVAL);
    text[sizeof(text) - 2] = '\0';
    assert_int_equal(audit_target_parse(text, &target, &e), 0);
}

static void test_file_is_private_and_appended_to(void **state)
{
    const struct audit_target target = parse(path);
    _cleanup_(fd_closep) int first = -1, second = -1;
    struct stat status;

    assert_int_equal(audit_target_open(&target, &first), 0);
    assert_int_equal(fstat(first, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(audit_target_open(&target, &second), 0);
    assert_int_equal(audit_target_write(&target, first, "one\n", 4), 4);
    assert_int_equal(audit_target_write(&target, second, "two\n", 4), 4);
    assert_int_equal(fstat(first, &status), 0);
    assert_int_equal(status.st_size, 8);
}

/* Of a process that ended while the disk was full. */
static void test_part_of_a_line_is_ended(void **state)
{
    static const char expected[] = "one\npart\ntwo\n";
    const struct audit_target target = parse(path);
    char text[sizeof(expected)] = "";
    int fd;

    for (size_t i = 0; i < 3; i++) {
        static const char *const pieces[] = {"one\n", "part", "two\n"};

        assert_int_equal(audit_target_open(&target, &fd), 0);
        assert_int_equal(audit_target_write(&target, fd, pieces[i], 4), 4);
        fd_close(fd);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof(text)), sizeof(expected) - 1);
    assert_string_equal(text, expected);
    fd_close(fd);
}

static void test_file_that_was_rotated(void **state)
{
    const struct audit_target target = parse(path);
    _cleanup_(fd_closep) int fd = -1;

    assert_int_equal(audit_target_open(&target, &fd), 0);
    assert_false(audit_target_is_moved(&target, fd));
    assert_int_equal(rename(path, other), 0);
    assert_true(audit_target_is_moved(&target, fd));
    fd = fd_close(fd);
    assert_int_equal(audit_target_open(&target, &fd), 0);
    assert_false(audit_target_is_moved(&target, fd));
    assert_int_equal(symlink(other, path), -1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(other, path), 0);
    assert_true(audit_target_is_moved(&target, fd));
}

/* What another user of the directory may have put there. */
static void test_other_files_are_refused(void **state)
{
    const struct audit_target target = parse(path);
    int fd;

    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(audit_target_open(&target, &fd), -ELOOP);
    assert_int_equal(access(other, F_OK), -1);
    unlink(path);
    fd_close(open(other, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(link(other, path), 0);
    assert_int_equal(audit_target_open(&target, &fd), -EPERM);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(audit_target_open(&target, &fd), -EPERM);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(audit_target_open(&target, &fd), -EISDIR);
    rmdir(path);
}

static int listen_at(const char *at)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, at, strlen(at) + 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void test_socket_that_is_not_read(void **state)
{
    static const char line[4096] = "x";
    char text[PATH_MAX + 8];
    struct audit_target target;
    _cleanup_(fd_closep) int listening = -1, fd = -1;
    ssize_t n;

    snprintf(text, sizeof(text), "unix:%s", path);
    target = parse(text);
    assert_int_equal(audit_target_open(&target, &fd), -ENOENT);
    listening = listen_at(path);
    assert_int_equal(audit_target_open(&target, &fd), 0);
    assert_false(audit_target_is_moved(&target, fd));
    do {
        n = audit_target_write(&target, fd, line, sizeof(line));
    } while (n > 0);
    assert_int_equal(n, -EAGAIN);
    fd_close(TAKE_FD(listening));
    n = audit_target_write(&target, fd, line, sizeof(line));
    assert_true(n == -EPIPE || n == -ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test_teardown(test_file_is_private_and_appended_to, remove_files),
        cmocka_unit_test_teardown(test_part_of_a_line_is_ended, remove_files),
        cmocka_unit_test_teardown(test_file_that_was_rotated, remove_files),
        cmocka_unit_test_teardown(test_other_files_are_refused, remove_files),
        cmocka_unit_test_teardown(test_socket_that_is_not_read, remove_files),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
