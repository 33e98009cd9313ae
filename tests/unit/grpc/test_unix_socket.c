/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grpc/unix_socket.h"

static char directory[64];

static int make_directory(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/secretfs-socket-XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    return rmdir(directory);
}

static const char *path_of(const char *name, char path[static 128])
{
    snprintf(path, 128, "%s/%s", directory, name);
    return path;
}
#define PATH(name) path_of(name, (char[128]){""})

static struct unix_socket listen_at(const char *path)
{
    struct unix_socket s = {.fd = -1};
    struct error e = ERROR_INIT;

    if (unix_socket_listen(path, 1, &s, &e) < 0)
        fail_msg("%s", e.text);
    return s;
}

static void refuse(const char *path, int expected, const char *words)
{
    struct unix_socket s = {.fd = -1};
    struct error e = ERROR_INIT;

    assert_int_equal(unix_socket_listen(path, 1, &s, &e), expected);
    assert_int_equal(s.fd, -1);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, e.text);
}

static void is_private_and_listens(void **state)
{
    struct unix_socket s = listen_at(PATH("a.sock"));
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat status;

    assert_int_equal(lstat(PATH("a.sock"), &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(access(PATH(".a.sock.new"), F_OK), -1);
    assert_int_equal(connect(client, (struct sockaddr *)&s.address, sizeof(s.address)), 0);
    assert_int_equal(fcntl(s.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(s.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_true(unix_socket_is_in_place(&s));
    close(client);
    unix_socket_close(&s);
    assert_int_equal(s.fd, -1);
    assert_int_equal(access(PATH("a.sock"), F_OK), -1);
    assert_false(unix_socket_is_in_place(&s));
    unix_socket_close(&s);
}

static void missing_directories_are_created(void **state)
{
    struct unix_socket s = listen_at(PATH("b/c/d.sock"));
    struct stat status;

    assert_int_equal(stat(PATH("b/c"), &status), 0);
    assert_int_equal(status.st_mode & 0027, 0);
    unix_socket_close(&s);
    assert_int_equal(rmdir(PATH("b/c")), 0);
    assert_int_equal(rmdir(PATH("b")), 0);
}

static void replaces_what_is_dead(void **state)
{
    struct unix_socket dead = listen_at(PATH("a.sock")), s;
    FILE *left = fopen(PATH(".a.sock.new"), "w"); /* by one that died at a bad moment */

    assert_non_null(left);
    fclose(left);
    close(dead.fd);
    s = listen_at(PATH("a.sock"));
    assert_true(unix_socket_is_in_place(&s));
    unix_socket_close(&s);
    assert_int_equal(access(PATH(".a.sock.new"), F_OK), -1);
}

static void living_socket_is_left(void **state)
{
    struct unix_socket s = listen_at(PATH("a.sock"));
    int fds[4];

    refuse(PATH("a.sock"), -EADDRINUSE, "another process listens on");
    assert_true(unix_socket_is_in_place(&s));
    /* a full queue does not mean that the process has ended */
    for (size_t i = 0; i < ELEMENTS_OF(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fds[i], (struct sockaddr *)&s.address, sizeof(s.address));
    }
    refuse(PATH("a.sock"), -EADDRINUSE, "another process listens on");
    for (size_t i = 0; i < ELEMENTS_OF(fds); i++)
        close(fds[i]);
    unix_socket_close(&s);
}

static void leaves_what_is_none(void **state)
{
    assert_int_equal(mkdir(PATH("x"), 0700), 0);
    refuse(PATH("x"), -EEXIST, "is not a socket");
    assert_int_equal(rmdir(PATH("x")), 0);
    assert_int_equal(symlink("/nowhere", PATH("x")), 0);
    refuse(PATH("x"), -EEXIST, "is not a socket");
    refuse(PATH("x/y"), -ENOENT, "cannot listen on");
    assert_int_equal(unlink(PATH("x")), 0);
}

static void only_own_file_is_removed(void **state)
{
    struct unix_socket first = listen_at(PATH("a.sock")), second;

    assert_int_equal(unlink(PATH("a.sock")), 0);
    assert_false(unix_socket_is_in_place(&first));
    second = listen_at(PATH("a.sock"));
    unix_socket_close(&first);
    assert_true(unix_socket_is_in_place(&second));
    unix_socket_close(&second);
}

static void invalid_paths_are_refused(void **state)
{
    char longest[256];
    struct unix_socket s;

    refuse("", -EINVAL, "absolute");
    refuse("a.sock", -EINVAL, "absolute");
    refuse("/tmp/", -EINVAL, "absolute");
    snprintf(longest, sizeof(longest), "%s/%0100d", directory, 1);
    longest[103] = '\0';
    refuse(longest, -EINVAL, "too long");
    longest[102] = '\0';
    s = listen_at(longest);
    unix_socket_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_private_and_listens),
        cmocka_unit_test(missing_directories_are_created),
        cmocka_unit_test(replaces_what_is_dead),
        cmocka_unit_test(living_socket_is_left),
        cmocka_unit_test(leaves_what_is_none),
        cmocka_unit_test(only_own_file_is_removed),
        cmocka_unit_test(invalid_paths_are_refused),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
