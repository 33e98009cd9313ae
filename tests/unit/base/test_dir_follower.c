/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/dir_follower.h"

#include "tests/unit/private_dir.h"

#define WATCHDOG_SEC 120
#define MAX_BYTES    64
#define MAX_FILES    3

struct test_file {
    struct dir_file file;
    char text[MAX_BYTES + 1]; /* read last */
};

struct fixture {
    char root[PRIVATE_DIR_SIZE]; /* private, and the working directory */
    char path[64];               /* the directory that is followed */
    sd_event *event;
    struct dir_follower *follower;
    char calls[512]; /* of the follower, in order */
    struct error reason;
    unsigned n_files;
    char seen[128]; /* what the owner had at the end of each scan, if that changed */
};

/* ---- what happens between two system calls of the follower */

static void (*after_readlink)(void); /* of "..data"; once */
static void (*before_open)(void);    /* of a file; once */
static void (*after_read)(void);     /* of a file by the owner; once */

static void run_once(void (**hook)(void))
{
    void (*function)(void) = *hook;

    *hook = NULL;
    if (function != NULL)
        function();
}

ssize_t readlink(const char *path, char *buf, size_t size)
{
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, path, buf, size);
    const char *name = strrchr(path, '/');

    if (name != NULL && streq(name, "/..data"))
        run_once(&after_readlink);
    return n;
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    if ((flags & O_DIRECTORY) == 0)
        run_once(&before_open);
    return (int)syscall(SYS_openat, dir_fd, path, flags, 0);
}

static void note(struct fixture *f, const char *what, const char *text)
{
    size_t len = strlen(f->calls);

    snprintf(f->calls + len, sizeof(f->calls) - len, "%s%s ", what, text);
}

static bool accepts(const char *name)
{
    return str_after(name, "f") != NULL;
}

static struct dir_file *new_file(void *userdata)
{
    struct fixture *f = userdata;

    f->n_files++;
    return calloc(1, sizeof(struct test_file));
}

static void free_file(void *userdata, struct dir_file *file)
{
    struct fixture *f = userdata;

    f->n_files--;
    free(CONTAINER_OF(file, struct test_file, file));
}

static int on_read(void *userdata, struct dir_file *file, struct buf *text)
{
    struct test_file *t = CONTAINER_OF(file, struct test_file, file);

    if (streq(t->text, buf_text(text)))
        return 0; /* one that changed just before it was read is read again */
    snprintf(t->text, sizeof(t->text), "%s", buf_text(text));
    note(userdata, "=", t->text);
    run_once(&after_read);
    return 0;
}

static int on_unreadable(void *userdata, struct dir_file *file, int code,
                         const struct error *reason)
{
    struct fixture *f = userdata;

    note(f, "!", file->name);
    f->reason = *reason;
    return 0;
}

static void on_removed(void *userdata, struct dir_file *file)
{
    note(userdata, "-", file->name);
}

/* The texts of all files, joined; scans are divided by spaces. */
static void note_seen(struct fixture *f)
{
    char texts[64] = "";
    const char *last = strrchr(f->seen, ' ');
    size_t n;
    struct dir_file *const *files = dir_follower_files(f->follower, &n);

    for (size_t i = 0, len = 0; i < n && len < sizeof(texts); i++)
        len += (size_t)snprintf(texts + len, sizeof(texts) - len, "%s",
                                CONTAINER_OF(files[i], struct test_file, file)->text);
    if (last == NULL || !streq(last + 1, texts))
        snprintf(f->seen + strlen(f->seen), sizeof(f->seen) - strlen(f->seen), " %s", texts);
}

static int on_scanned(void *userdata, int result, const struct error *reason, mono_us at)
{
    struct fixture *f = userdata;

    f->reason = result < 0 ? *reason : f->reason;
    note_seen(f);
    return result;
}

static const struct dir_follower_ops ops = {
    .accepts = accepts,
    .new_file = new_file,
    .free_file = free_file,
    .read = on_read,
    .unreadable = on_unreadable,
    .removed = on_removed,
    .scanned = on_scanned,
};

static void follow(struct fixture *f)
{
    const struct dir_follower_config config = {.path = f->path,
                                               .what = "the directory",
                                               .files = "files",
                                               .max_files = MAX_FILES,
                                               .max_file_bytes = MAX_BYTES};

    assert_int_equal(dir_follower_new(f->event, &config, &ops, f, &f->follower, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    alarm(WATCHDOG_SEC);
    private_dir_enter(f->root);
    assert_int_equal(mkdir("dir", 0755), 0);
    snprintf(f->path, sizeof(f->path), "%s/dir", f->root);
    assert_int_equal(sd_event_new(&f->event), 0);
    follow(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    dir_follower_free(f->follower);
    assert_int_equal(f->n_files, 0);
    sd_event_unref(f->event);
    private_dir_leave(f->root);
    free(f);
    return 0;
}

static void put(const char *path, const char *text)
{
    _cleanup_(fd_closep) int fd = open("new", O_CREAT | O_WRONLY | O_TRUNC, 0644);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(rename("new", path), 0);
}

/* Run the loop until the follower has made exactly these calls. */
static void expect_calls(struct fixture *f, const char *calls)
{
    while (!streq(f->calls, calls))
        assert_true(sd_event_run(f->event, SPAN_FOREVER) >= 0);
    f->calls[0] = '\0';
}

static int scan(struct fixture *f)
{
    return dir_follower_scan(f->follower, NULL);
}

static void reads_what_changed(void **state)
{
    struct fixture *f = *state;
    size_t n;
    struct dir_file *const *files;

    put("dir/f2", "two");
    put("dir/f1", "one");
    put("dir/other", "not ours");
    assert_int_equal(scan(f), 0);
    expect_calls(f, "=one =two ");
    files = dir_follower_files(f->follower, &n);
    assert_int_equal(n, 2);
    assert_string_equal(files[0]->name, "f1");
    put("dir/f2", "2");
    expect_calls(f, "=2 ");
}

static void removes_a_file_that_stays_away(void **state)
{
    struct fixture *f = *state;

    put("dir/f1", "one");
    assert_int_equal(scan(f), 0);
    expect_calls(f, "=one ");
    assert_int_equal(unlink("dir/f1"), 0);
    assert_int_equal(scan(f), FILE_READ_BUSY); /* an editor may replace it */
    assert_int_equal(f->n_files, 1);
    expect_calls(f, "-f1 ");
    assert_int_equal(f->n_files, 0);
}

static void waits_for_a_writer(void **state)
{
    struct fixture *f = *state;
    int fd = open("dir/f1", O_CREAT | O_WRONLY, 0644);

    assert_int_equal(write(fd, "half", 4), 4);
    assert_int_equal(scan(f), FILE_READ_BUSY);
    assert_string_equal(f->calls, "");
    assert_int_equal(write(fd, " and half", 9), 9);
    close(fd);
    expect_calls(f, "=half and half ");
}

static void reports_what_it_cannot_read(void **state)
{
    struct fixture *f = *state;
    char large[MAX_BYTES + 2];

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    put("dir/f1", large);
    assert_int_equal(scan(f), 0);
    assert_non_null(strstr(f->reason.text, "f1: the file is larger than"));
    expect_calls(f, "!f1 ");
    assert_int_equal(mkdir("dir/f2", 0755), 0);
    assert_int_equal(symlink("nowhere", "dir/f3"), 0);
    assert_int_equal(scan(f), 0);
    assert_non_null(strstr(f->reason.text, "f3: cannot open f3: No such file"));
    expect_calls(f, "!f1 !f2 !f3 ");
    put("dir/f3", "a file now");
    put("dir/f1", "short");
    assert_int_equal(rmdir("dir/f2"), 0);
    while (strstr(f->calls, "=short") == NULL || strstr(f->calls, "=a file now") == NULL)
        assert_true(sd_event_run(f->event, SPAN_FOREVER) >= 0);
}

static void missing_directory_changes_nothing(void **state)
{
    struct fixture *f = *state;

    put("dir/f1", "one");
    assert_int_equal(scan(f), 0);
    assert_int_equal(rename("dir", "old"), 0);
    assert_int_equal(scan(f), -ENOENT);
    assert_non_null(strstr(f->reason.text, "its files stay in effect"));
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_int_equal(scan(f), -ENODATA);
    assert_non_null(strstr(f->reason.text, "without any files (unmounted?)"));
    assert_int_equal(f->n_files, 1);
    expect_calls(f, "=one ");
    put("dir/f1", "two");
    expect_calls(f, "=two ");
}

static void too_many_files_change_nothing(void **state)
{
    struct fixture *f = *state;
    char path[] = "dir/f0";

    put("dir/f0", "zero");
    assert_int_equal(scan(f), 0);
    expect_calls(f, "=zero ");
    for (char c = '1'; c <= '0' + MAX_FILES; c++) {
        path[5] = c;
        put(path, "more");
    }
    assert_int_equal(scan(f), -EFBIG);
    assert_non_null(strstr(f->reason.text, "more than 3 files"));
    assert_string_equal(f->calls, "");
    assert_int_equal(f->n_files, 1);
}

/* ---- a directory that a kubelet writes */

/* As in docs/kubelet-semantics.md, C3, but without the links of new and removed keys. */
static void swap_to(const char *generation, const char *text1, const char *text2)
{
    char path[64], old[32] = "";
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, "dir/..data", old, sizeof(old) - 1);

    snprintf(path, sizeof(path), "dir/%s", generation);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "dir/%s/f1", generation);
    put(path, text1);
    snprintf(path, sizeof(path), "dir/%s/f2", generation);
    if (text2 != NULL)
        put(path, text2);
    assert_int_equal(symlink(generation, "dir/..data_tmp"), 0);
    assert_int_equal(rename("dir/..data_tmp", "dir/..data"), 0);
    if (n <= 0)
        return;
    for (unsigned i = 1; i <= 2; i++) {
        snprintf(path, sizeof(path), "dir/%s/f%u", old, i);
        assert_true(unlink(path) == 0 || errno == ENOENT);
    }
    snprintf(path, sizeof(path), "dir/%s", old);
    assert_int_equal(rmdir(path), 0);
}

static void make_volume(struct fixture *f)
{
    swap_to("..1", "1", "1");
    assert_int_equal(symlink("..data/f1", "dir/f1"), 0);
    assert_int_equal(symlink("..data/f2", "dir/f2"), 0);
    assert_int_equal(scan(f), 0);
    assert_string_equal(f->seen, " 11");
    f->calls[0] = '\0';
}

static void swap_to_2(void)
{
    swap_to("..2", "2", "2");
}

static void swap_to_3(void)
{
    swap_to("..3", "3", "3");
}

static void swap_to_1(void)
{
    swap_to("..1", "1", "1");
}

static void follows_a_link_again_whose_target_was_replaced(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    after_readlink = swap_to_2;
    assert_int_equal(scan(f), 0);
    assert_null(after_readlink);
    assert_string_equal(f->seen, " 11 22");
    assert_string_equal(f->calls, "=2 =2 ");
}

static void follows_a_link_again_at_the_first_scan(void **state)
{
    struct fixture *f = *state;

    swap_to("..0", "0", "0");
    assert_int_equal(symlink("..data/f1", "dir/f1"), 0);
    after_readlink = swap_to_1;
    assert_int_equal(scan(f), 0);
    assert_string_equal(f->seen, " 1");
    assert_string_equal(f->calls, "=1 ");
}

static void follows_a_link_again_that_it_could_not_open(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    swap_to_2();
    before_open = swap_to_3;
    assert_int_equal(scan(f), 0);
    assert_null(before_open);
    assert_string_equal(f->seen, " 11 33");
    assert_null(strchr(f->calls, '!'));
}

static void reads_the_files_of_one_generation(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    swap_to_2();
    after_read = swap_to_3;
    assert_int_equal(scan(f), 0);
    assert_null(after_read);
    assert_string_equal(f->seen, " 11 33");
}

static void keeps_a_removed_key_while_its_link_leads_nowhere(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    swap_to("..2", "2", NULL);
    assert_int_equal(scan(f), FILE_READ_BUSY);
    assert_string_equal(f->seen, " 11 21");
    assert_int_equal(unlink("dir/f2"), 0);
    expect_calls(f, "=2 -f2 ");
    assert_string_equal(f->seen, " 11 21 2");
}

static void reports_a_link_that_leads_nowhere_for_long(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    swap_to("..2", "2", NULL);
    while (strchr(f->calls, '!') == NULL)
        assert_true(sd_event_run(f->event, SPAN_FOREVER) >= 0);
    assert_string_equal(f->calls, "=2 !f2 ");
    assert_non_null(strstr(f->reason.text, "f2: cannot open f2: No such file"));
}

static void remove_f1(void)
{
    assert_int_equal(unlink("dir/f1"), 0);
}

static void a_file_that_it_could_not_open_is_removed(void **state)
{
    struct fixture *f = *state;

    put("dir/f1", "one");
    before_open = remove_f1;
    assert_int_equal(scan(f), FILE_READ_BUSY);
    assert_null(before_open);
    expect_calls(f, "-f1 ");
}

/* The directory itself is behind ..data, as with an item whose path has a directory. */
static void follows_a_directory_again_that_was_replaced(void **state)
{
    struct fixture *f = *state;

    make_volume(f);
    dir_follower_free(f->follower);
    assert_int_equal(f->n_files, 0);
    snprintf(f->path + strlen(f->path), sizeof(f->path) - strlen(f->path), "/..data");
    follow(f);
    f->seen[0] = '\0';
    after_readlink = swap_to_2;
    assert_int_equal(scan(f), 0);
    assert_string_equal(f->seen, " 22");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_what_changed),
        TEST(removes_a_file_that_stays_away),
        TEST(waits_for_a_writer),
        TEST(reports_what_it_cannot_read),
        TEST(missing_directory_changes_nothing),
        TEST(too_many_files_change_nothing),
        TEST(follows_a_link_again_whose_target_was_replaced),
        TEST(follows_a_link_again_at_the_first_scan),
        TEST(follows_a_link_again_that_it_could_not_open),
        TEST(reads_the_files_of_one_generation),
        TEST(keeps_a_removed_key_while_its_link_leads_nowhere),
        TEST(reports_a_link_that_leads_nowhere_for_long),
        TEST(a_file_that_it_could_not_open_is_removed),
        TEST(follows_a_directory_again_that_was_replaced),
    };

    return cmocka_run_group_tests_name("dir_follower", tests, NULL, NULL);
}
