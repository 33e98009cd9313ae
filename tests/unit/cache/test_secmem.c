/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cache/secmem.h"

/* Sanitizers let mlock(2) do nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MLOCK_IS_SHAM true
#else
#define MLOCK_IS_SHAM false
#endif

static void test_counts_and_zeroes(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = secmem_bytes();
    unsigned char *block = secmem_alloc(page);

    assert_non_null(block);
    assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
    for (size_t i = 0; i < page; i++)
        assert_int_equal(block[i], 0);
    memset(block, 'x', page);
    assert_int_equal(secmem_bytes(), before + 2 * page); /* the header takes a part of the first */
    secmem_free(block);
    assert_int_equal(secmem_bytes(), before);
    secmem_free(NULL);
    assert_null(secmem_alloc(SIZE_MAX));
    assert_null(secmem_alloc(SIZE_MAX / 4));
}

/* Run @action in a child. Return: the signal that ended it, or 0. */
static int signal_of(void (*action)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* the test framework's handlers would go on with it */
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO); /* a sanitizer has much to say here */
        action();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void write_to_sealed(void)
{
    volatile char *block = secmem_alloc(10);

    block[0] = 'x';
    secmem_seal((void *)(uintptr_t)block);
    if (block[0] == 'x')
        block[0] = 'y';
}

static void free_sealed(void)
{
    char *block = secmem_alloc(10);

    block[0] = 'x';
    secmem_seal(block);
    secmem_free(block);
}

static void free_what_is_none(void)
{
    static _Alignas(max_align_t) char text[4096];

    secmem_free(text + 1024);
}

static void test_sealed_blocks_cannot_be_written(void **state)
{
    assert_int_not_equal(signal_of(write_to_sealed), 0);
    assert_int_equal(signal_of(free_sealed), 0);
    assert_int_not_equal(signal_of(free_what_is_none), 0);
}

static void harden_and_check(void)
{
    struct error e;
    struct rlimit core;
    int r = secmem_harden(&e);

    if (r != 0 && r != SECMEM_BLOCKS_ONLY)
        _exit(1);
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        _exit(2);
    if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        _exit(3);
}

static unsigned coredump_filter(void)
{
    FILE *file = fopen("/proc/self/coredump_filter", "re");
    unsigned filter = 0;

    if (file == NULL || fscanf(file, "%x", &filter) != 1)
        _exit(9);
    fclose(file);
    return filter;
}

static struct rlimit limit_of(__rlimit_resource_t resource)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) < 0)
        _exit(8);
    return limit;
}

/* The settings of a started program, and that they are undone. */
static void lend_and_check(void)
{
    struct rlimit core = limit_of(RLIMIT_CORE), memlock = limit_of(RLIMIT_MEMLOCK);
    unsigned filter = coredump_filter();
    struct secmem_inherited inherited;
    struct error e;

    secmem_inherited_save(&inherited);
    if (secmem_harden_restorable(&e) < 0 || coredump_filter() != 0)
        _exit(1);
    secmem_inherited_restore(&inherited);
    if (coredump_filter() != filter || limit_of(RLIMIT_CORE).rlim_max != core.rlim_max ||
        limit_of(RLIMIT_MEMLOCK).rlim_cur != memlock.rlim_cur)
        _exit(2);
    secmem_inherited_undo_restore(&inherited);
    if (coredump_filter() != 0 || limit_of(RLIMIT_CORE).rlim_cur != 0)
        _exit(3);
    secmem_inherited_deinit(&inherited);
}

static void test_inherited_settings_are_restored(void **state)
{
    assert_int_equal(signal_of(lend_and_check), 0);
}

static void test_hardened_process_leaves_no_core(void **state)
{
    assert_int_equal(signal_of(harden_and_check), 0);
}

/* Return: VmFlags of the mapping that holds @address, from /proc/self/smaps. */
static void flags_of(const void *address, char *ret_flags, size_t size)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512], flags[300];
    bool is_it = false;

    assert_non_null(maps);
    ret_flags[0] = '\0';
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long start, end;

        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_it = (uintptr_t)address >= start && (uintptr_t)address < end;
        else if (is_it && sscanf(line, "VmFlags:%299[^\n]", flags) == 1)
            snprintf(ret_flags, size, "%s", flags);
    }
    assert_int_equal(fclose(maps), 0);
}

static void test_blocks_are_locked_and_not_dumped(void **state)
{
    size_t unlocked = secmem_unlocked_bytes();
    void *block = secmem_alloc(10);
    char flags[300];

    assert_non_null(block);
    flags_of(block, flags, sizeof(flags));
    assert_non_null(strstr(flags, " dd")); /* not in core dumps */
    assert_non_null(strstr(flags, " dc")); /* not in children */
    if (secmem_unlocked_bytes() == unlocked && !MLOCK_IS_SHAM)
        assert_non_null(strstr(flags, " lo"));
    secmem_free(block);
    assert_int_equal(secmem_unlocked_bytes(), unlocked);
}

/* The limit counts without CAP_IPC_LOCK. */
static void limit_and_check(void)
{
    static char more[16384];
    const struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 8192};
    bool is_limited;

    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        _exit(1);
    is_limited = mlock(more, sizeof(more)) < 0;
    if (!MLOCK_IS_SHAM && secmem_lockable_bytes() != (is_limited ? 8192 : -1))
        _exit(2);
    if (geteuid() == 0 && setuid(65534) < 0)
        _exit(3);
    if (secmem_lockable_bytes() != 8192)
        _exit(4);
}

static void test_lockable_bytes_follow_the_limit(void **state)
{
    assert_int_equal(signal_of(limit_and_check), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_zeroes),
        cmocka_unit_test(test_sealed_blocks_cannot_be_written),
        cmocka_unit_test(test_hardened_process_leaves_no_core),
        cmocka_unit_test(test_inherited_settings_are_restored),
        cmocka_unit_test(test_blocks_are_locked_and_not_dumped),
        cmocka_unit_test(test_lockable_bytes_follow_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
