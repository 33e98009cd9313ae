/* SPDX-License-Identifier: Apache-2.0 */
/* Each test restricts a child of its own, as nothing of it can be undone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confinement.h"
#include "base/process.h"
#include "base/util.h"

#define FAILED 1

/* Run @check in a child. Fail if it does not return 0. */
static void check_in_child(int (*check)(void))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        int r = check();

        fflush(NULL);
        _exit(r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A call that a filter denies fails with EPERM. Each of these would fail with another error. */
struct denied {
    const char *name;
    long number;
    long arguments[3];
};

static const struct denied process_calls[] = {
    {"setns", SYS_setns, {-1, 0, 0}},
    {"chroot", SYS_chroot, {0, 0, 0}},
    {"pivot_root", SYS_pivot_root, {0, 0, 0}},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    {"ptrace", SYS_ptrace, {-1, 0, 0}},
#endif
    {"process_vm_readv", SYS_process_vm_readv, {-1, 0, 0}},
    {"process_vm_writev", SYS_process_vm_writev, {-1, 0, 0}},
    {"sched_setattr", SYS_sched_setattr, {0, 0, 0}},
    {"sched_setscheduler", SYS_sched_setscheduler, {0, 0, 0}},
    {"sched_setparam", SYS_sched_setparam, {0, 0, 0}},
    {"open_by_handle_at", SYS_open_by_handle_at, {-1, 0, 0}},
    {"bpf", SYS_bpf, {-1, 0, 0}},
    {"finit_module", SYS_finit_module, {-1, 0, 0}},
    {"kexec_load", SYS_kexec_load, {0, -1, 0}},
    {"perf_event_open", SYS_perf_event_open, {0, 0, 0}},
    {"unshare(CLONE_NEWNS)", SYS_unshare, {CLONE_NEWNS | 1, 0, 0}},
    {"unshare(CLONE_NEWUSER)", SYS_unshare, {CLONE_NEWUSER | 1, 0, 0}},
    {"clone(CLONE_NEWUSER)", SYS_clone, {CLONE_NEWUSER | CLONE_FS | CLONE_SIGHAND, 0, 0}},
};

static const struct denied reaching_out[] = {
    {"execve", SYS_execve, {0, 0, 0}},        {"execveat", SYS_execveat, {-1, 0, 0}},
    {"connect", SYS_connect, {-1, 0, 0}},     {"accept4", SYS_accept4, {-1, 0, 0}},
    {"setgroups", SYS_setgroups, {-1, 0, 0}},
};

static const struct denied starting_threads[] = {
    {"unshare", SYS_unshare, {-1, 0, 0}},
    {"clone", SYS_clone, {CLONE_THREAD, 0, 0}},
};

static const struct denied mounting[] = {
    {"mount", SYS_mount, {0, 0, 0}},           {"umount2", SYS_umount2, {0, -1, 0}},
    {"open_tree", SYS_open_tree, {-1, 0, -1}}, {"move_mount", SYS_move_mount, {-1, 0, -1}},
    {"fsopen", SYS_fsopen, {0, -1, 0}},
};

static const struct denied changing_files[] = {
    {"fchownat", SYS_fchownat, {-1, 0, 0}},    {"unlinkat", SYS_unlinkat, {-1, 0, 0}},
    {"mkdirat", SYS_mkdirat, {-1, 0, 0}},      {"symlinkat", SYS_symlinkat, {0, -1, 0}},
    {"renameat2", SYS_renameat2, {-1, 0, -1}}, {"kill", SYS_kill, {0, -1, 0}},
    {"capset", SYS_capset, {0, 0, 0}},
};

static int check_denied(const struct denied *calls, size_t n)
{
    int failures = 0;

    for (size_t i = 0; i < n; i++) {
        const struct denied *each = &calls[i];
        long r = syscall(each->number, each->arguments[0], each->arguments[1], each->arguments[2]);

        if (r == -1 && errno == EPERM)
            continue;
        printf("%s: %ld, %s\n", each->name, r, strerror(errno));
        failures++;
    }
    return failures == 0 ? 0 : FAILED;
}

static bool is_permitted(const struct denied *call)
{
    return check_denied(call, 1) != 0;
}

static void *return_argument(void *argument)
{
    return argument;
}

static int check_process(void)
{
    const char *const program[] = {"true", NULL};
    struct error e = ERROR_INIT;
    pthread_t thread;
    void *result = NULL;
    int here;

    if (confinement_restrict_process(CONFINEMENT_NODE, &e) < 0) {
        printf("%s\n", e.text);
        return FAILED;
    }
    if (check_denied(process_calls, ELEMENTS_OF(process_calls)) != 0)
        return FAILED;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return FAILED;
    /* what the daemon does from here on: threads, programs, a table of descriptors, mounts */
    if (pthread_create(&thread, NULL, return_argument, &here) != 0 ||
        pthread_join(thread, &result) != 0 || result != &here)
        return FAILED;
    if (process_run(program) != 0 || unshare(CLONE_FILES) < 0)
        return FAILED;
    return umount2("/nonexistent", 0) < 0 && errno == ENOENT ? 0 : FAILED;
}

static bool has_capability(int number)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    syscall(SYS_capget, &header, data);
    return (data[number / 32].permitted >> (number % 32) & 1) != 0;
}

static bool are_denied(const struct denied *calls, size_t n)
{
    return check_denied(calls, n) == 0;
}
#define ARE_DENIED(calls) are_denied(calls, ELEMENTS_OF(calls))

static const struct denied unmounting = {"umount2", SYS_umount2, {0, -1, 0}};

static bool mounts(void)
{
    return has_capability(CAP_SYS_ADMIN) && has_capability(CAP_DAC_READ_SEARCH) &&
           is_permitted(&unmounting);
}

static bool has_no_capability(void)
{
    for (int each = 0; each <= CAP_LAST_CAP; each++)
        if (each != CAP_IPC_LOCK && has_capability(each))
            return false;
    return true;
}

/* It runs a program and starts a thread, and opens a socket. */
static bool runs_and_connects(void)
{
    const char *const program[] = {"true", NULL};
    const struct denied connecting = {"connect", SYS_connect, {-1, 0, 0}};

    return process_run(program) == 0 && is_permitted(&connecting);
}

static void *run_loop(void *result)
{
    confinement_restrict_thread(CONFINEMENT_LOOP);
    *(bool *)result = has_no_capability() && ARE_DENIED(process_calls) && ARE_DENIED(mounting) &&
                      runs_and_connects();
    return NULL;
}

static void *run_privileged(void *result)
{
    pthread_t thread;
    void *unused;

    confinement_restrict_thread(CONFINEMENT_PRIVILEGED);
    *(bool *)result = mounts() && ARE_DENIED(process_calls) && ARE_DENIED(reaching_out) &&
                      pthread_create(&thread, NULL, return_argument, NULL) == 0 &&
                      pthread_join(thread, &unused) == 0;
    return NULL;
}

static void *run_publisher(void *result)
{
    confinement_restrict_thread(CONFINEMENT_PUBLISHER);
    *(bool *)result = mounts() && !has_capability(CAP_KILL) && ARE_DENIED(process_calls) &&
                      ARE_DENIED(reaching_out) && ARE_DENIED(starting_threads);
    return NULL;
}

static void *run_signaller(void *result)
{
    bool has_kill = has_capability(CAP_KILL);

    confinement_restrict_thread(CONFINEMENT_SIGNALLER);
    *(bool *)result = has_kill == has_capability(CAP_KILL) && !has_capability(CAP_SYS_ADMIN) &&
                      !has_capability(CAP_DAC_READ_SEARCH) && ARE_DENIED(process_calls) &&
                      ARE_DENIED(mounting) && ARE_DENIED(reaching_out) &&
                      ARE_DENIED(starting_threads) && ARE_DENIED(changing_files);
    return NULL;
}

static const struct denied making_sockets[] = {{"socket", SYS_socket, {-1, 0, 0}}};

static const struct denied leaving_group[] = {{"setsid", SYS_setsid, {0, 0, 0}},
                                              {"setpgid", SYS_setpgid, {-1, -1, 0}}};

static void *run_runner(void *result)
{
    bool has_kill = has_capability(CAP_KILL), has_setuid = has_capability(CAP_SETUID);

    confinement_restrict_thread(CONFINEMENT_RUNNER);
    *(bool *)result = has_kill == has_capability(CAP_KILL) &&
                      has_setuid == has_capability(CAP_SETUID) && !has_capability(CAP_SYS_ADMIN) &&
                      !has_capability(CAP_DAC_OVERRIDE) && ARE_DENIED(process_calls) &&
                      ARE_DENIED(mounting) && runs_and_connects() &&
                      is_permitted(&leaving_group[1]);
    return NULL;
}

static void *run_command(void *result)
{
    confinement_restrict_thread(CONFINEMENT_COMMAND);
    *(bool *)result = has_no_capability() && ARE_DENIED(process_calls) && ARE_DENIED(mounting) &&
                      ARE_DENIED(leaving_group) && is_permitted(&making_sockets[0]) &&
                      runs_and_connects();
    return NULL;
}

static void *run_check(void *result)
{
    confinement_restrict_thread(CONFINEMENT_CHECK);
    *(bool *)result = has_no_capability() && ARE_DENIED(process_calls) && ARE_DENIED(mounting) &&
                      ARE_DENIED(leaving_group) && ARE_DENIED(making_sockets) &&
                      runs_and_connects();
    return NULL;
}

static void *run_worker(void *result)
{
    confinement_restrict_thread(CONFINEMENT_WORKER);
    *(bool *)result = has_no_capability() && ARE_DENIED(process_calls) && ARE_DENIED(mounting) &&
                      ARE_DENIED(reaching_out) && ARE_DENIED(starting_threads) &&
                      ARE_DENIED(changing_files);
    return NULL;
}

static int check_thread(void *(*run)(void *))
{
    bool had_admin = has_capability(CAP_SYS_ADMIN), result = false;
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, &result) != 0 || pthread_join(thread, NULL) != 0)
        return FAILED;
    /* the other threads stay as they were */
    if (had_admin != has_capability(CAP_SYS_ADMIN) || (had_admin && !is_permitted(&unmounting)))
        return FAILED;
    return result ? 0 : FAILED;
}

static int check_loop(void)
{
    struct error e = ERROR_INIT;

    if (confinement_restrict_process(CONFINEMENT_NODE, &e) < 0)
        return FAILED;
    return check_thread(run_loop);
}

static int check_privileged(void)
{
    struct error e = ERROR_INIT;

    if (confinement_restrict_process(CONFINEMENT_NODE, &e) < 0)
        return FAILED;
    return check_thread(run_privileged);
}

static int check_publisher(void)
{
    return check_thread(run_publisher);
}

static int check_signaller(void)
{
    return check_thread(run_signaller);
}

static int check_runner(void)
{
    return check_thread(run_runner);
}

static int check_command(void)
{
    return check_thread(run_command);
}

static int check_check(void)
{
    return check_thread(run_check);
}

static int check_worker(void)
{
    return check_thread(run_worker);
}

static void test_process_keeps_what_mounting_needs(void **state)
{
    if (geteuid() != 0)
        skip(); /* the process of an ordinary user stays as it is */
    check_in_child(check_process);
}

static void test_loop_runs_programs_without_rights(void **state)
{
    if (geteuid() != 0)
        skip(); /* as above */
    check_in_child(check_loop);
}

static void test_privileged_thread_mounts_and_starts_threads(void **state)
{
    if (geteuid() != 0)
        skip(); /* umount2(2) fails with EPERM in any case */
    check_in_child(check_privileged);
}

static void test_publisher_runs_and_connects_nothing(void **state)
{
    if (geteuid() != 0)
        skip(); /* umount2(2) fails with EPERM in any case */
    check_in_child(check_publisher);
}

static void test_signaller_signals_and_changes_nothing(void **state)
{
    check_in_child(check_signaller);
}

static void test_worker_mounts_and_changes_nothing(void **state)
{
    check_in_child(check_worker);
}

static void test_runner_starts_and_ends_programs(void **state)
{
    check_in_child(check_runner);
}

static void test_commands_stay_in_their_group(void **state)
{
    check_in_child(check_command);
    check_in_child(check_check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_keeps_what_mounting_needs),
        cmocka_unit_test(test_loop_runs_programs_without_rights),
        cmocka_unit_test(test_privileged_thread_mounts_and_starts_threads),
        cmocka_unit_test(test_publisher_runs_and_connects_nothing),
        cmocka_unit_test(test_signaller_signals_and_changes_nothing),
        cmocka_unit_test(test_worker_mounts_and_changes_nothing),
        cmocka_unit_test(test_runner_starts_and_ends_programs),
        cmocka_unit_test(test_commands_stay_in_their_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
