/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/snapshot.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buf.h"

#include "tests/unit/private_dir.h"

struct fixture {
    char path[PRIVATE_DIR_SIZE];
    int fd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    *state = f;
    private_dir_enter(f->path);
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->fd >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fd_close(f->fd);
    private_dir_leave(f->path);
    free(f);
    return 0;
}

static void put(const struct fixture *f, const char *name, const char *content)
{
    int fd = openat(f->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    fd_close(fd);
}

static int add_change(void *userdata, enum snapshot_change change, const char *path)
{
    static const char signs[] = {
        [SNAPSHOT_ADDED] = '+', [SNAPSHOT_CHANGED] = '~', [SNAPSHOT_REMOVED] = '-'};

    return buf_addf(userdata, "%c%s ", signs[change], path);
}

static void assert_changes(const struct snapshot *from, const struct snapshot *to,
                           const char *expected)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(1024);

    assert_int_equal(snapshot_compare(from, to, add_change, &text), 0);
    assert_string_equal(buf_text(&text), expected);
}

static struct snapshot read_all(const struct fixture *f)
{
    struct snapshot s = {0};
    struct error e;

    assert_int_equal(snapshot_read(f->fd, &s, &e), 0);
    return s;
}

static void changes_are_found(void **state)
{
    const struct fixture *f = *state;
    const struct snapshot none = {0};
    struct snapshot before, after;

    put(f, "changed", "dummy-1");
    put(f, "kept", "dummy");
    put(f, "removed", "dummy");
    assert_int_equal(mkdirat(f->fd, "below", 0700), 0);
    put(f, "below/changed", "");
    before = read_all(f);
    put(f, "changed", "dummy-2");
    put(f, "below/changed", "dummy");
    put(f, "added", "dummy");
    assert_int_equal(unlinkat(f->fd, "removed", 0), 0);
    after = read_all(f);

    assert_changes(&none, &before, "+below/changed +changed +kept +removed ");
    assert_changes(&before, &after, "+added ~below/changed ~changed -removed ");
    assert_changes(&after, &none, "-added -below/changed -changed -kept ");
    assert_changes(&after, &after, "");
    snapshot_deinit(&before);
    snapshot_deinit(&after);
}

/* Nothing is followed, and a FIFO does not block. */
static void other_kinds_are_skipped(void **state)
{
    const struct fixture *f = *state;
    struct snapshot s;

    put(f, "file", "dummy");
    assert_int_equal(symlinkat("/etc/passwd", f->fd, "link"), 0);
    assert_int_equal(symlinkat("/", f->fd, "root"), 0);
    assert_int_equal(mkfifoat(f->fd, "fifo", 0600), 0);
    s = read_all(f);
    assert_int_equal(s.n, 1);
    assert_string_equal(s.files[0].path, "file");
    snapshot_deinit(&s);
}

static void empty_directory(void **state)
{
    struct snapshot s = read_all(*state);

    assert_int_equal(s.n, 0);
    snapshot_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(other_kinds_are_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_directory, setup, teardown),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
