/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/payload_tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/process.h"
#include "tests/unit/make_payload.h"

/* What tar(1) prints of the payload's archive. */
static void read_archive(const char *files, const char *option, const char *path,
                         struct buf *ret_text)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    _cleanup_(buf_deinit) struct buf errors = BUF_INIT(4096);
    char archive[64];
    int fd = memfd_create("archive", MFD_CLOEXEC);
    const char *argv[] = {"tar", option, archive, path, NULL};
    struct payload_tar tar;
    struct iovec piece;

    assert_true(fd >= 0);
    snprintf(archive, sizeof(archive), "/proc/%d/fd/%d", getpid(), fd);
    payload_tar_init(&tar, payload);
    while (payload_tar_next(&tar, &piece))
        assert_int_equal(write(fd, piece.iov_base, piece.iov_len), piece.iov_len);
    assert_false(payload_tar_next(&tar, &piece));
    assert_int_equal(lseek(fd, 0, SEEK_CUR) % TAR_BLOCK, 0);
    assert_int_equal(process_read(argv, ret_text, &errors), 0);
    assert_string_equal(buf_text(&errors), "");
    close(fd);
}

static void check(const char *files, const char *option, const char *path, const char *expected)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(65536);

    read_archive(files, option, path, &text);
    assert_string_equal(buf_text(&text), expected);
}

static void test_files(void **state)
{
    check("a=dummy-1 d/b=dummy-2", "-tf", NULL, "a\nd/b\n");
    check("a=dummy-1 d/b=dummy-2", "-xOf", "d/b", "dummy-2");
    check("a=dummy-1 d/b= e=dummy-3", "-xOf", "d/b", "");
    check("a=dummy-1 d/b= e=dummy-3", "-xOf", "e", "dummy-3");
    check("", "-tf", NULL, "");
}

static void test_a_mode(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(65536);

    read_archive("a=dummy", "-tvf", NULL, &text);
    assert_memory_equal(buf_text(&text), "-rw-r-----", 10);
}

static void check_path(size_t len)
{
    char path[300] = "", files[320], expected[320];

    memset(path, 'p', len);
    path[len] = '\0';
    snprintf(files, sizeof(files), "%s=dummy-1 z=dummy-2", path);
    snprintf(expected, sizeof(expected), "%s\nz\n", path);
    check(files, "-tf", NULL, expected);
    check(files, "-xOf", path, "dummy-1");
}

static void test_long_paths(void **state)
{
    check_path(99);
    check_path(100);
    check_path(101);
    check_path(255);
}

static void test_values_fill_blocks(void **state)
{
    char value[2 * TAR_BLOCK + 2], files[sizeof(value) + 32];

    for (size_t len = TAR_BLOCK - 1; len <= TAR_BLOCK + 1; len++) {
        memset(value, 'v', len);
        value[len] = '\0';
        snprintf(files, sizeof(files), "a=%s b=dummy", value);
        check(files, "-xOf", "a", value);
        check(files, "-xOf", "b", "dummy");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_a_mode),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_values_fill_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
