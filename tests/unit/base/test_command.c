/* SPDX-License-Identifier: Apache-2.0 */
/* This program starts itself again, as secretfs does. */
#include "base/command.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define OTHER_USER 65534u

static char variable[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char *environment[] = {variable, NULL};

struct input {
    struct iovec pieces[3];
    size_t n, at;
};

static bool next_input(void *userdata, struct iovec *ret_piece)
{
    struct input *input = userdata;

    if (input->at == input->n)
        return false;
    *ret_piece = input->pieces[input->at++];
    return true;
}

struct options {
    bool has_own_user;
    bool is_update;
    span_us timeout; /* 0: a minute */
    int stop_fd;     /* 0: none */
    struct input *input;
};

static int run_program(char *const argv[], const struct options *o, struct error *e)
{
    const struct command command = {.name = "test",
                                    .argv = argv,
                                    .uid = o->has_own_user ? COMMAND_OWN_USER : OTHER_USER,
                                    .gid = OTHER_USER,
                                    .timeout = o->timeout != 0 ? o->timeout : SPAN_SEC(60)};
    const struct command_run run = {.command = &command,
                                    .is_check = !o->is_update,
                                    .envp = environment,
                                    .stop_fd = o->stop_fd != 0 ? o->stop_fd : -1,
                                    .next_input = o->input != NULL ? next_input : NULL,
                                    .userdata = o->input};

    *e = ERROR_INIT;
    return command_run(&run, e);
}

static int run_script(const char *script, const struct options *o, struct error *e)
{
    char shell[] = "/bin/sh", option[] = "-c";
    _cleanup_(freep) char *copy = strdup(script);
    char *argv[] = {shell, option, copy, NULL};

    return run_program(argv, o, e);
}

static void accept_script(const char *script, const struct options *o)
{
    struct error e;

    assert_int_equal(run_script(script, o, &e), 0);
    assert_string_equal(e.text, "");
}

static void refuse(const char *script, int result, const char *text)
{
    struct error e;

    assert_int_equal(run_script(script, &(struct options){0}, &e), result);
    assert_string_equal(e.text, text);
}

static void test_names(void **state)
{
    assert_true(command_name_is_valid("nginx-config"));
    assert_true(command_name_is_valid("5"));
    assert_false(command_name_is_valid(""));
    assert_false(command_name_is_valid("/bin/sh"));
    assert_false(command_name_is_valid("../sh"));
    assert_false(command_name_is_valid("-c"));
    assert_false(command_name_is_valid("a b"));
    assert_false(command_name_is_valid(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")); /* 64 */
}

static void test_content_comes_by_standard_input(void **state)
{
    char first[] = "dummy-1", second[] = "dummy-2";
    struct input input = {.pieces = {{first, 7}, {NULL, 0}, {second, 7}}, .n = 3};

    accept_script("test \"$(cat)\" = dummy-1dummy-2", &(struct options){.input = &input});
    accept_script("test -z \"$(cat)\"", &(struct options){0}); /* /dev/null */
}

static void test_the_first_line_is_the_reason(void **state)
{
    char line[COMMAND_LINE_MAX + 1];
    char expected[COMMAND_LINE_MAX + 64];

    refuse("exit 3", -EINVAL, "ended with exit status 3");
    refuse("echo >&2; echo bad key >&2; echo more >&2; exit 1", -EINVAL,
           "ended with exit status 1: bad key");
    refuse("printf 'a\\033[2Jb\\tc\\377' >&2; exit 1", -EINVAL,
           "ended with exit status 1: a?[2Jb?c?");
    refuse("echo shown nowhere; exit 1", -EINVAL, "ended with exit status 1");
    refuse("kill -9 $$", -EINTR, "was ended by signal 9");
    refuse("kill -TERM $$", -EINTR, "was ended by signal 15");
    memset(line, 'x', sizeof(line));
    line[COMMAND_LINE_MAX] = '\0';
    snprintf(expected, sizeof(expected), "ended with exit status 1: %s", line);
    refuse("head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1", -EINVAL, expected);
}

static void test_a_program_that_cannot_be_run(void **state)
{
    static const char *const paths[][2] = {
        {"/nonexistent", "cannot be run: /nonexistent: No such file or directory"},
        {"/etc/passwd", "cannot be run: /etc/passwd: Permission denied"},
        {"/", "cannot be run: /: Permission denied"},
    };
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(paths); i++) {
        _cleanup_(freep) char *path = strdup(paths[i][0]);
        char *argv[] = {path, NULL};

        assert_int_equal(run_program(argv, &(struct options){0}, &e), -ENOEXEC);
        assert_string_equal(e.text, paths[i][1]);
        assert_true(command_did_not_run(-ENOEXEC));
    }
}

/* A script chooses its exit status, and has nothing to write failures to. */
static void test_a_script_that_cannot_run_a_program(void **state)
{
    refuse("exit 127", -EINVAL, "ended with exit status 127");
    refuse("exit 126", -EINVAL, "ended with exit status 126");
    refuse("echo cannot be run >&1; exit 127", -EINVAL, "ended with exit status 127");
    refuse("for i in 3 4 5 6 7 8 9; do eval \"echo cannot be run >&$i\"; done 2>/dev/null; exit 1",
           -EINVAL, "ended with exit status 1");
    assert_false(command_did_not_run(-EINVAL));
    assert_false(command_did_not_run(-ETIMEDOUT));
}

static void test_it_need_not_read_its_input(void **state)
{
    _cleanup_(freep) char *large = calloc(1, 1u << 20); /* more than a pipe has room for */
    struct input input = {.pieces = {{large, 1u << 20}}, .n = 1};

    assert_non_null(large);
    accept_script("exec <&-; sleep 0.1; exit 0", &(struct options){.input = &input});
    input.at = 0;
    accept_script("exit 0", &(struct options){.input = &input});
    input.at = 0;
    accept_script("test \"$(wc -c)\" = 1048576", &(struct options){.input = &input});
}

static void test_it_has_no_rights(void **state)
{
    accept_script("grep -q '^NoNewPrivs:.1$' /proc/self/status", &(struct options){0});
    accept_script("test \"$(grep -c '^Cap[IPEA].*:.0000000000000000$' /proc/self/status)\" = 4",
                  &(struct options){0});
    accept_script("test \"$(ls /proc/self/fd | wc -l)\" = 4",
                  &(struct options){0}); /* and its own */
    accept_script("test \"$(env | grep -cv '^PATH=\\|^PWD=\\|^_=')\" = 0", &(struct options){0});
    accept_script("test \"$(pwd)\" = / && test \"$(ulimit -c)\" = 0", &(struct options){0});
    accept_script("test \"$(cat /proc/self/oom_score_adj)\" = 1000", &(struct options){0});
    if (geteuid() == 0)
        accept_script("test \"$(id -u):$(id -g):$(id -G)\" = 65534:65534:65534",
                      &(struct options){0});
}

/* Each prints its number, by which the second one differs. */
static void test_runs_have_users_of_their_own(void **state)
{
    char first[COMMAND_LINE_MAX], *user;
    const char *script = "test \"$(id -u)\" = \"$(id -g)\" && id -u >&2 && exit 1";
    struct error e;

    if (geteuid() != 0)
        skip();
    assert_int_equal(run_script(script, &(struct options){.has_own_user = true}, &e), -EINVAL);
    user = strrchr(e.text, ' ');
    assert_non_null(user);
    assert_true(strtoul(user, NULL, 10) >= 0x70000000u);
    assert_true(strtoul(user, NULL, 10) < 0x7ff00000u);
    snprintf(first, sizeof(first), "%s", user);
    assert_int_equal(run_script(script, &(struct options){.has_own_user = true}, &e), -EINVAL);
    assert_string_not_equal(strrchr(e.text, ' '), first);
}

static void test_memory_is_limited(void **state)
{
    struct error e;

    assert_int_equal(
        run_script("head -c 2G /dev/zero | tail -c 2G >/dev/null", &(struct options){0}, &e),
        -EINVAL);
}

static void test_processes_are_limited(void **state)
{
    /* a shell that cannot fork ends with 2 */
    const char *script = "for i in $(seq 300); do sleep 1000 & echo $i >&2; done; exit 0";
    struct error e;

    if (geteuid() != 0)
        skip();
    accept_script(script, &(struct options){0}); /* containers may have the user */
    assert_int_equal(run_script(script, &(struct options){.has_own_user = true}, &e), -EINVAL);
}

static void test_a_check_has_no_network(void **state)
{
    char shell[] = "/bin/bash", option[] = "-c", udp[] = "exec 3<>/dev/udp/127.0.0.1/9";
    char *argv[] = {shell, option, udp, NULL};
    struct error e;

    if (access(shell, X_OK) < 0)
        skip();
    assert_int_equal(run_program(argv, &(struct options){.is_update = true}, &e), 0);
    assert_int_equal(run_program(argv, &(struct options){0}, &e), -EINVAL);
}

static bool is_gone(pid_t pid)
{
    char path[64], text[512] = "";
    _cleanup_(fd_closep) int fd = -1;
    const char *name_end;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        return true;
    name_end = strrchr(text, ')');
    return name_end != NULL && name_end[2] == 'Z';
}

static void test_what_it_starts_ends_with_it(void **state)
{
    struct error e;
    int pid = 0;

    assert_int_equal(run_script("sleep 1000 & echo $! >&2; exit 1", &(struct options){0}, &e),
                     -EINVAL);
    assert_int_equal(sscanf(e.text, "ended with exit status 1: %d", &pid), 1);
    while (!is_gone(pid))
        usleep(1000);
    /* nor can it leave the group */
    refuse("setsid -w true 2>/dev/null || exit 9", -EINVAL, "ended with exit status 9");
}

static void test_a_command_that_hangs(void **state)
{
    struct error e;

    assert_int_equal(run_script("trap '' TERM; sleep 1000 | sleep 1000",
                                &(struct options){.timeout = SPAN_SEC(1)}, &e),
                     -ETIMEDOUT);
    assert_string_equal(e.text, "took longer than 1 s");
}

static void test_a_flood_of_errors(void **state)
{
    refuse("yes >&2", -EFBIG, "wrote more than 65536 bytes to standard error");
    accept_script("yes | head -c 1000000", &(struct options){0}); /* standard output is nowhere */
}

static void *stop_soon(void *userdata)
{
    usleep(20000);
    eventfd_write(*(int *)userdata, 1);
    return NULL;
}

static void test_it_can_be_ended(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    pthread_t thread;
    struct error e;

    assert_int_equal(thread_start(&thread, 65536, stop_soon, &fd), 0);
    assert_int_equal(run_script("sleep 1000", &(struct options){.stop_fd = fd}, &e), -ECANCELED);
    assert_string_equal(e.text, "was ended");
    pthread_join(thread, NULL);
    fd_close(fd);
}

/* That of the pidfd is the last one. */
static void test_descriptors_can_be_short(void **state)
{
    struct rlimit before, few;
    struct error e;
    int free_fd = dup(STDERR_FILENO);

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    fd_close(free_fd);
    for (unsigned more = 0; more < 5; more++) {
        few = before;
        few.rlim_cur = (rlim_t)free_fd + more;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        assert_int_equal(run_script("sleep 1000", &(struct options){0}, &e), -EMFILE);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left of it */
        assert_int_equal(errno, ECHILD);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_become_needs_its_arguments(void **state)
{
    char use[] = "check", *argv[] = {use, NULL};

    assert_int_equal(command_become(0, argv + 1), 127);
    assert_int_equal(command_become(1, argv), 127);
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_content_comes_by_standard_input),
        cmocka_unit_test(test_the_first_line_is_the_reason),
        cmocka_unit_test(test_a_program_that_cannot_be_run),
        cmocka_unit_test(test_a_script_that_cannot_run_a_program),
        cmocka_unit_test(test_it_need_not_read_its_input),
        cmocka_unit_test(test_it_has_no_rights),
        cmocka_unit_test(test_runs_have_users_of_their_own),
        cmocka_unit_test(test_memory_is_limited),
        cmocka_unit_test(test_processes_are_limited),
        cmocka_unit_test(test_a_check_has_no_network),
        cmocka_unit_test(test_what_it_starts_ends_with_it),
        cmocka_unit_test(test_a_command_that_hangs),
        cmocka_unit_test(test_a_flood_of_errors),
        cmocka_unit_test(test_it_can_be_ended),
        cmocka_unit_test(test_descriptors_can_be_short),
        cmocka_unit_test(test_become_needs_its_arguments),
    };

    if (argc > 2 && streq(argv[1], COMMAND_BECOME))
        _exit(command_become(argc - 2, argv + 2));
    signal(SIGPIPE, SIG_IGN); /* as a daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
