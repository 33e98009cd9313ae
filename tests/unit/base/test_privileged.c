/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confinement.h"
#include "base/file_access.h"
#include "base/privileged.h"
#include "base/util.h"

#define OTHER_USER 65534

struct seen {
    pid_t thread;
    unsigned n_calls;
    int result;
};

static int look(void *arguments)
{
    struct seen *seen = arguments;

    seen->thread = gettid();
    seen->n_calls++;
    return seen->result;
}

static int look_from_within(void *arguments)
{
    return privileged_call(look, arguments);
}

static void start(void)
{
    struct error e = ERROR_INIT;

    assert_int_equal(privileged_start(&e), 0);
}

static void test_without_the_thread_the_caller_runs_it(void **state)
{
    struct seen seen = {.result = 3};

    assert_int_equal(privileged_call(look, &seen), 3);
    assert_int_equal(seen.thread, gettid());
    privileged_stop(); /* there is nothing to end */
}

static void test_thread_runs_each_call(void **state)
{
    struct seen seen = {.result = -ENOENT};

    start();
    for (unsigned n = 1; n <= 100; n++) {
        assert_int_equal(privileged_call(look, &seen), -ENOENT);
        assert_int_not_equal(seen.thread, gettid());
        assert_int_equal(seen.n_calls, n);
    }
    privileged_stop();
    assert_int_equal(privileged_call(look, &seen), -ENOENT);
    assert_int_equal(seen.thread, gettid());
}

static void test_call_within_a_call_is_direct(void **state)
{
    struct seen seen = {.result = 1};

    start();
    assert_int_equal(privileged_call(look_from_within, &seen), 1);
    assert_int_not_equal(seen.thread, gettid());
    assert_int_equal(seen.n_calls, 1);
    privileged_stop();
}

static void test_retry_is_for_a_missing_right_only(void **state)
{
    struct seen seen = {.result = -ENOENT};

    start();
    assert_int_equal(privileged_retry(look, &seen), -ENOENT);
    assert_int_equal(seen.thread, gettid());
    assert_int_equal(seen.n_calls, 1);
    seen.result = -EACCES;
    assert_int_equal(privileged_retry(look, &seen), -EACCES);
    assert_int_not_equal(seen.thread, gettid());
    assert_int_equal(seen.n_calls, 3);
    privileged_stop();
}

/* ---- without capabilities, in a child */

/* A directory that only another user can enter, with one file and one link. */
static void make_private(char directory[static 32])
{
    char path[64];
    int fd;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/file", directory);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && fchown(fd, OTHER_USER, OTHER_USER) == 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/link", directory);
    assert_int_equal(symlink("file", path), 0);
    assert_int_equal(chown(directory, OTHER_USER, OTHER_USER), 0);
}

static void remove_private(const char *directory)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/file", directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/link", directory);
    unlink(path);
    rmdir(directory);
}

struct accesses {
    int open, stat, link, watch;
};

static struct accesses attempt(const char *directory)
{
    int directory_fd = open(directory, O_PATH | O_CLOEXEC), inotify_fd = inotify_init1(IN_CLOEXEC);
    char path[64], target[16];
    struct stat status;
    struct accesses made = {.open = file_access_open(directory_fd, "file", O_NONBLOCK),
                            .stat = file_access_stat(directory_fd, "link", 0, &status)};

    snprintf(path, sizeof(path), "%s/link", directory);
    made.link = file_access_read_link(path, target, sizeof(target));
    made.watch = file_access_watch(inotify_fd, path, IN_MODIFY);
    return made;
}

static bool all_are_refused(const struct accesses *a)
{
    return a->open == -EACCES && a->stat == -EACCES && a->link == -EACCES && a->watch == -EACCES;
}

static bool all_are_made(const struct accesses *a)
{
    return a->open >= 0 && a->stat == 0 && a->link == 4 && a->watch >= 0;
}

/* Return: 0; a number that says what failed. */
static int run_child(const char *directory)
{
    struct error e = ERROR_INIT;
    struct accesses a;

    if (confinement_restrict_process(CONFINEMENT_NODE, &e) < 0 || privileged_start(&e) < 0)
        return 1;
    confinement_restrict_thread(CONFINEMENT_LOOP);
    a = attempt(directory);
    if (!all_are_made(&a))
        return 2;
    privileged_stop();
    a = attempt(directory);
    return all_are_refused(&a) ? 0 : 3;
}

static void test_files_of_another_user(void **state)
{
    char directory[32] = "/tmp/test_privileged.XXXXXX";
    int status = 0;
    pid_t pid;

    if (geteuid() != 0)
        skip();
    make_private(directory);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run_child(directory));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    remove_private(directory);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_the_thread_the_caller_runs_it),
        cmocka_unit_test(test_thread_runs_each_call),
        cmocka_unit_test(test_call_within_a_call_is_direct),
        cmocka_unit_test(test_retry_is_for_a_missing_right_only),
        cmocka_unit_test(test_files_of_another_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
