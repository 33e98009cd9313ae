/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"

#include "tests/unit/failmalloc.h"

static void test_grows_up_to_its_limit(void **state)
{
    struct buf b = BUF_INIT(1000);

    assert_string_equal(buf_text(&b), "");
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(buf_addf(&b, "%09u\n", i), 0);
    assert_int_equal(b.len, 1000);
    assert_int_equal(buf_add_text(&b, "x"), -EFBIG);
    assert_int_equal(buf_addf(&b, "%d", 1), -EFBIG);
    assert_int_equal(buf_add(&b, "x", SIZE_MAX), -EFBIG);
    assert_int_equal(buf_add(&b, "", 0), 0);
    assert_int_equal(b.len, 1000);
    assert_int_equal(strlen(b.data), 1000);
    buf_deinit(&b);
    assert_null(b.data);
    assert_int_equal(buf_add_text(&b, "again"), 0);
    assert_string_equal(buf_text(&b), "again");
    buf_deinit(&b);
}

static void test_drops_from_the_front(void **state)
{
    struct buf b = BUF_INIT(100);

    buf_drop_front(&b, 0);
    assert_int_equal(buf_add_text(&b, "dummy-rest"), 0);
    buf_drop_front(&b, 6);
    assert_string_equal(buf_text(&b), "rest");
    /* the removed bytes are wiped */
    assert_memory_equal(b.data + 4, "\0\0\0\0\0\0", 6);
    buf_drop_front(&b, 4);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_text(&b), "");
    buf_deinit(&b);
}

static void test_reset_wipes(void **state)
{
    struct buf b = BUF_INIT(100);
    size_t capacity;

    assert_int_equal(buf_add_text(&b, "dummy"), 0);
    capacity = b.capacity;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.capacity, capacity);
    assert_memory_equal(b.data, "\0\0\0\0\0", 5);
    buf_deinit(&b);
}

static void test_reads_descriptors(void **state)
{
    struct buf b = BUF_INIT(100000);
    int fd = memfd_create("test", MFD_CLOEXEC);
    char block[1000];

    assert_true(fd >= 0);
    memset(block, 'x', sizeof(block));
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(buf_read_fd(&b, fd), 0);
    assert_int_equal(b.len, 100000);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(buf_read_fd(&b, fd), -EFBIG);
    buf_deinit(&b);
    b = BUF_INIT(99999);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(buf_read_fd(&b, fd), -EFBIG);
    buf_deinit(&b);
    assert_int_equal(close(fd), 0);
    assert_int_equal(buf_read_fd(&b, fd), -EBADF);
    assert_int_equal(buf_read_file(&b, AT_FDCWD, "/nowhere"), -ENOENT);
    assert_int_equal(buf_read_file(&b, AT_FDCWD, "/proc/self/comm"), 0);
    assert_non_null(strstr(buf_text(&b), "test_buf"));
    buf_deinit(&b);
}

static int try_adding(void *userdata)
{
    struct buf b = BUF_INIT(100000);
    int r = buf_add_text(&b, "text");

    for (unsigned i = 0; i < 100 && r >= 0; i++)
        r = buf_addf(&b, "%0100u", i);
    if (r >= 0)
        r = buf_read_file(&b, AT_FDCWD, "/proc/self/comm");
    buf_deinit(&b);
    return r;
}

static void test_allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_adding, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_up_to_its_limit),
        cmocka_unit_test(test_drops_from_the_front),
        cmocka_unit_test(test_reset_wipes),
        cmocka_unit_test(test_reads_descriptors),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
