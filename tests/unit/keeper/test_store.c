/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/store.h"

static struct keeper_store *new_store(size_t max)
{
    struct keeper_store *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    s->max = max;
    return s;
}

static void free_store(struct keeper_store *s)
{
    keeper_store_clear(s);
    assert_int_equal(s->n, 0);
    free(s);
}

static int new_file(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void assert_names(const struct keeper_store *s, const char *expected)
{
    static char names[KEEPER_NAMES_SIZE];

    keeper_store_join_names(s, names);
    assert_string_equal(names, expected);
}

static void test_put_and_remove(void **state)
{
    struct keeper_store *s = new_store(4);
    int fds[4];

    for (size_t i = 0; i < ELEMENTS_OF(fds); i++)
        fds[i] = new_file();
    assert_names(s, "");
    assert_int_equal(keeper_store_put(s, fds[0], "a", true), KEEPER_PUT_STORED);
    assert_int_equal(keeper_store_put(s, fds[1], "b", false), KEEPER_PUT_STORED);
    assert_int_equal(keeper_store_put(s, fds[2], "a", true), KEEPER_PUT_STORED);
    assert_int_equal(keeper_store_put(s, fds[3], "", true), KEEPER_PUT_STORED);
    assert_names(s, "a:b:a:");
    assert_int_equal(keeper_store_remove(s, "a"), 2);
    assert_names(s, "b:");
    assert_true(fcntl(fds[0], F_GETFD) < 0 && fcntl(fds[2], F_GETFD) < 0);
    assert_int_equal(keeper_store_remove(s, "a"), 0);
    assert_int_equal(s->entries[0].fd, fds[1]);
    free_store(s);
    assert_true(fcntl(fds[1], F_GETFD) < 0);
}

static void test_one_open_file(void **state)
{
    struct keeper_store *s = new_store(4);
    int fd = new_file(), same = dup(fd), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int other_null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(keeper_store_put(s, fd, "a", true), KEEPER_PUT_STORED);
    assert_int_equal(keeper_store_put(s, same, "b", true), KEEPER_PUT_DUPLICATE);
    assert_true(fcntl(same, F_GETFD) < 0);
    assert_int_equal(keeper_store_put(s, null, "c", true), KEEPER_PUT_STORED);
    /* one device, opened twice: two mounts have two open files of /dev/fuse */
    assert_int_equal(keeper_store_put(s, other_null, "d", true), KEEPER_PUT_STORED);
    assert_names(s, "a:c:d");
    free_store(s);
}

static void test_a_full_store(void **state)
{
    struct keeper_store *s = new_store(1);
    int fd = new_file(), more = new_file();

    assert_int_equal(keeper_store_put(s, fd, "a", true), KEEPER_PUT_STORED);
    assert_int_equal(keeper_store_put(s, more, "b", true), KEEPER_PUT_FULL);
    assert_true(fcntl(more, F_GETFD) < 0);
    assert_int_equal(keeper_store_put(s, dup(fd), "b", true), KEEPER_PUT_DUPLICATE);
    free_store(s);
}

static void test_hung_up(void **state)
{
    struct keeper_store *s = new_store(4);
    struct pollfd polled[4];
    int kept[2], closed[2];

    assert_int_equal(pipe2(kept, O_CLOEXEC), 0);
    assert_int_equal(pipe2(closed, O_CLOEXEC), 0);
    keeper_store_put(s, kept[0], "kept", false);
    keeper_store_put(s, closed[0], "closed", true);
    keeper_store_put(s, new_file(), "file", true);
    keeper_store_fill_polled(s, polled);
    assert_int_equal(poll(polled, (nfds_t)s->n, 0), 0);
    close(kept[1]);
    close(closed[1]);
    assert_int_equal(poll(polled, (nfds_t)s->n, -1), 1);
    assert_int_equal(keeper_store_close_hung(s, polled), 1);
    assert_names(s, "kept:file");
    free_store(s);
}

static bool is_same_file(int fd, const struct stat *expected)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_ino == expected->st_ino && st.st_dev == expected->st_dev &&
           fcntl(fd, F_GETFD) == 0;
}

/* Stored at 3 and 4 in the wrong order, so that each is in the way of the other. */
static int place_and_check(void)
{
    struct keeper_store *s = calloc(1, sizeof(*s));
    struct stat first, second;
    int a = memfd_create("a", MFD_CLOEXEC), b = memfd_create("b", MFD_CLOEXEC);

    if (s == NULL || fstat(a, &first) < 0 || fstat(b, &second) < 0)
        return 1;
    a = fcntl(a, F_DUPFD_CLOEXEC, 10);
    b = fcntl(b, F_DUPFD_CLOEXEC, 10);
    if (dup3(a, 4, O_CLOEXEC) != 4 || dup3(b, 3, O_CLOEXEC) != 3)
        return 2;
    s->n = 2;
    s->entries[0].fd = 4;
    s->entries[1].fd = 3;
    if (keeper_store_place(s) < 0)
        return 3;
    return is_same_file(3, &first) && is_same_file(4, &second) ? 0 : 4;
}

static void test_place(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(place_and_check());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_longest_names(void **state)
{
    struct keeper_store *s = new_store(KEEPER_FDS_MAX);
    static char names[KEEPER_NAMES_SIZE];
    char name[KEEPER_NAME_MAX + 1];

    memset(name, 'x', KEEPER_NAME_MAX);
    name[KEEPER_NAME_MAX] = '\0';
    for (size_t i = 0; i < KEEPER_FDS_MAX; i++)
        assert_int_equal(keeper_store_put(s, new_file(), name, true), KEEPER_PUT_STORED);
    keeper_store_join_names(s, names);
    assert_int_equal(strlen(names), KEEPER_FDS_MAX * (KEEPER_NAME_MAX + 1) - 1);
    free_store(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_remove), cmocka_unit_test(test_one_open_file),
        cmocka_unit_test(test_a_full_store),   cmocka_unit_test(test_hung_up),
        cmocka_unit_test(test_place),          cmocka_unit_test(test_longest_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
