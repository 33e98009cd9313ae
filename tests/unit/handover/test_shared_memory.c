/* SPDX-License-Identifier: Apache-2.0 */
/* Both kinds of memory: of memfd_secret(2), and of memfd_create(2) where that is refused. */
#include "handover/shared_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE ((uint64_t)3 * 4096)

static bool refuses_secret;

/* In place of libc's. */
long syscall(long number, ...)
{
    long (*const next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list arguments;

#ifdef SYS_memfd_secret
    if (number == SYS_memfd_secret && refuses_secret) {
        errno = ENOSYS;
        return -1;
    }
#endif
    va_start(arguments, number);
    for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int setup(void **state)
{
    refuses_secret = false;
    return 0;
}

static int setup_refused(void **state)
{
    refuses_secret = true;
    return 0;
}

/* Whether the mapping at @bytes has a flag of proc_pid_smaps(5). */
static bool has_flag(const void *bytes, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool is_it = false, has = false;
    unsigned long begin, end;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_it = (unsigned long)bytes >= begin && (unsigned long)bytes < end;
        if (is_it && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    fclose(f);
    return has;
}

static bool may_lock(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    return limit.rlim_cur >= 4 * SIZE;
}

static void test_neither_dumped_nor_copied_nor_swapped(void **state)
{
    struct shared_memory memory = SHARED_MEMORY_NONE, next = SHARED_MEMORY_NONE;

    assert_int_equal(shared_memory_new(SIZE - 1, &memory), 0);
    assert_true(memory.size == SIZE);
    assert_int_equal(shared_memory_open(dup(memory.fd), &next), 0);
    assert_true(has_flag(memory.bytes, " dd") && has_flag(next.bytes, " dd"));
    assert_true(has_flag(memory.bytes, " dc") && has_flag(next.bytes, " dc"));
    if (may_lock())
        assert_true(has_flag(memory.bytes, " lo") && has_flag(next.bytes, " lo"));
    assert_true(fcntl(memory.fd, F_GETFD) & FD_CLOEXEC);
    shared_memory_deinit(&next);
    shared_memory_deinit(&memory);
}

static void test_size_stays(void **state)
{
    struct shared_memory memory = SHARED_MEMORY_NONE;

    assert_int_equal(shared_memory_new(SIZE, &memory), 0);
    assert_int_equal(ftruncate(memory.fd, 2 * (off_t)SIZE), -1);
    assert_int_equal(ftruncate(memory.fd, 0), -1);
    assert_true(lseek(memory.fd, 0, SEEK_END) == (off_t)SIZE || errno == ESPIPE);
    shared_memory_deinit(&memory);
}

static void test_next_process_has_the_content(void **state)
{
    struct shared_memory memory = SHARED_MEMORY_NONE, next = SHARED_MEMORY_NONE;
    int fd;

    assert_int_equal(shared_memory_new(SIZE, &memory), 0);
    memcpy(memory.bytes, "dummy-1", 8);
    fd = dup(memory.fd);
    shared_memory_deinit(&memory);
    assert_int_equal(memory.fd, -1);
    assert_int_equal(shared_memory_open_read_only(fd, &next), 0);
    assert_true(next.size == SIZE);
    assert_string_equal(next.bytes, "dummy-1");
    assert_false(has_flag(next.bytes, " wr"));
    shared_memory_deinit(&next);
}

static void test_no_such_memory(void **state)
{
    struct shared_memory memory = SHARED_MEMORY_NONE;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(shared_memory_open(fds[0], &memory), -EINVAL);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* it is consumed */
    close(fds[1]);
    assert_int_equal(shared_memory_open(open("/tmp", O_RDONLY | O_CLOEXEC), &memory), -EINVAL);
    assert_int_equal(shared_memory_open(open("/dev/null", O_RDONLY | O_CLOEXEC), &memory), -EINVAL);
    assert_int_equal(memory.fd, -1);
}

int main(void)
{
#define TESTS(f) cmocka_unit_test_setup(f, setup), cmocka_unit_test_setup(f, setup_refused)
    const struct CMUnitTest tests[] = {
        TESTS(test_neither_dumped_nor_copied_nor_swapped),
        TESTS(test_size_stays),
        TESTS(test_next_process_has_the_content),
        cmocka_unit_test(test_no_such_memory),
    };

    return cmocka_run_group_tests_name("shared memory", tests, NULL, NULL);
}
