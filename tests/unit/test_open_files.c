/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/open_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"
#include "tests/unit/make_payload.h"

#define READER 11
#define OTHER  12

/* A tree with one live file, whose content can be changed. */
struct fixture {
    struct tree *tree;
    struct open_files files;
    uint64_t directory;
    uint64_t file;
};

static struct live_switch *prepare(struct fixture *f, const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    const struct live_root root = {.id = f->directory, .path = ""};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, &root, 1, payload, &s), 0);
    return s;
}

static void change(struct fixture *f, const char *files)
{
    _cleanup_(live_switch_freep) struct live_switch *s = prepare(f, files);

    live_switch_commit(f->tree, s);
}

/* Return: the id of the file "a" in a new directory. */
static uint64_t make_file(struct fixture *f, const char *directory, bool is_live)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=old");
    struct stat stat;

    assert_int_equal(tree_stage(f->tree, directory, payload, is_live), 0);
    assert_int_equal(tree_mkdir(f->tree, TREE_ROOT_ID, directory, 0755, &stat), 0);
    f->directory = stat.st_ino;
    assert_int_equal(tree_find(f->tree, f->directory, "a", &stat), 0);
    return stat.st_ino;
}

static int setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    static struct fixture f;

    f = (struct fixture){0};
    assert_int_equal(tree_new(&options, &f.tree), 0);
    open_files_init(&f.files, f.tree);
    f.file = make_file(&f, "g", true);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    open_files_deinit(&f->files);
    (void)tree_free(f->tree);
    return 0;
}

static struct open_file *open_file(struct fixture *f, pid_t thread)
{
    struct open_file *file = NULL;

    assert_int_equal(open_file_new(&f->files, f->file, thread, &file), 0);
    assert_non_null(file);
    return file;
}

static void close_file(struct fixture *f, struct open_file *file)
{
    open_file_close(&f->files, f->file, file);
}

static void assert_read(struct fixture *f, struct open_file *file, size_t offset, size_t size,
                        const char *text)
{
    const uint8_t *bytes;
    size_t len = open_file_read(&f->files, file, offset, size, &bytes);

    assert_int_equal(len, strlen(text));
    assert_memory_equal(bytes, text, len);
}

/* The size that a thread is told. */
static off_t size_for(struct fixture *f, pid_t thread)
{
    struct stat before, stat;

    assert_int_equal(tree_stat(f->tree, f->file, &before), 0);
    stat = before;
    if (!open_files_stat(&f->files, thread, &stat))
        assert_memory_equal(&before, &stat, sizeof(stat));
    return stat.st_size;
}

static void open_file_keeps_its_content(void **state)
{
    struct fixture *f = *state;
    struct open_file *old = open_file(f, READER), *new;

    change(f, "a=newer");
    new = open_file(f, READER);
    assert_read(f, old, 0, 100, "old");
    assert_read(f, old, 1, 1, "l");
    assert_read(f, old, 3, 100, "");
    assert_read(f, old, 300, 100, "");
    assert_read(f, old, 0, 0, "");
    assert_read(f, new, 0, 100, "newer");
    close_file(f, old);
    close_file(f, new);
}

static void size_goes_with_what_is_unread(void **state)
{
    struct fixture *f = *state;
    struct open_file *file = open_file(f, READER);

    change(f, "a=newer");
    assert_int_equal(size_for(f, READER), 3);
    assert_int_equal(size_for(f, OTHER), 5);
    assert_read(f, file, 0, 2, "ol");
    assert_int_equal(size_for(f, READER), 3);
    assert_read(f, file, 2, 100, "d");
    assert_int_equal(size_for(f, READER), 5);
    close_file(f, file);
}

/* The times are those of the version, too. */
static void times_go_with_the_size(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    struct open_file *file;

    assert_int_equal(tree_stat(f->tree, f->file, &before), 0);
    file = open_file(f, READER);
    change(f, "a=newer");
    assert_int_equal(tree_stat(f->tree, f->file, &after), 0);
    assert_true(open_files_stat(&f->files, READER, &after));
    assert_memory_equal(&after.st_mtim, &before.st_mtim, sizeof(after.st_mtim));
    assert_memory_equal(&after.st_ctim, &before.st_ctim, sizeof(after.st_ctim));
    assert_int_equal(after.st_size, 3);
    close_file(f, file);
}

static void closing_is_the_end_as_well(void **state)
{
    struct fixture *f = *state;
    struct open_file *file = open_file(f, READER);

    change(f, "a=newer");
    close_file(f, file);
    assert_int_equal(size_for(f, READER), 5);
}

static void newest_counts(void **state)
{
    struct fixture *f = *state;
    struct open_file *first = open_file(f, READER), *second;

    change(f, "a=newer");
    second = open_file(f, READER);
    change(f, "a=newest");
    assert_int_equal(size_for(f, READER), 5);
    assert_read(f, second, 0, 100, "newer");
    assert_int_equal(size_for(f, READER), 3);
    close_file(f, first);
    close_file(f, second);
}

static void oldest_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct open_file *first = open_file(f, READER), *others[1024];

    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        others[i] = open_file(f, OTHER);
    change(f, "a=newer");
    assert_int_equal(size_for(f, READER), 5);
    assert_int_equal(size_for(f, OTHER), 3);
    assert_read(f, first, 0, 100, "old");
    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        close_file(f, others[i]);
    close_file(f, first);
}

/* A reader in a pid namespace that the kernel cannot name it in: it may be any. */
static void unknown_thread_is_never_matched(void **state)
{
    struct fixture *f = *state;
    struct open_file *file = open_file(f, 0);

    change(f, "a=newer");
    assert_int_equal(size_for(f, 0), 5);
    assert_int_equal(size_for(f, READER), 5);
    assert_read(f, file, 0, 100, "old");
    assert_int_equal(size_for(f, 0), 5);
    close_file(f, file);
}

static void other_files_are_not_matched(void **state)
{
    struct fixture *f = *state;
    uint64_t first = f->file;
    struct open_file *file = open_file(f, READER);

    f->file = make_file(f, "h", true);
    change(f, "a=newer");
    assert_int_equal(size_for(f, READER), 5);
    f->file = first;
    assert_int_equal(size_for(f, READER), 3);
    close_file(f, file);
}

static void only_files_are_opened(void **state)
{
    struct fixture *f = *state;
    struct open_file *file = NULL;

    assert_int_equal(open_file_new(&f->files, f->directory, READER, &file), -EISDIR);
    assert_int_equal(open_file_new(&f->files, 99, READER, &file), -ESTALE);
    assert_null(file);
}

static void opens_wait_for_a_switch(void **state)
{
    struct fixture *f = *state;
    struct live_switch *s = prepare(f, "a=newer");
    struct open_file *file = NULL;

    assert_int_equal(open_file_new(&f->files, f->file, READER, &file), -EAGAIN);
    assert_null(file);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    file = open_file(f, READER);
    assert_read(f, file, 0, 100, "newer");
    close_file(f, file);
}

/* It is waited for until it is read to its end, by whatever reads, or closed. */
static void switches_know_what_is_read(void **state)
{
    struct fixture *f = *state;
    struct open_file *first = open_file(f, READER), *second = open_file(f, OTHER);
    struct live_switch *s = prepare(f, "a=newer");

    assert_read(f, first, 0, 2, "ol");
    assert_true(live_switch_drain_until(f->tree, s) > 0);
    assert_read(f, first, 2, 1, "d");
    assert_read(f, first, 0, 100, "old"); /* the end counts once */
    assert_read(f, first, 3, 100, "");
    assert_true(live_switch_drain_until(f->tree, s) > 0);
    close_file(f, first);
    assert_true(live_switch_drain_until(f->tree, s) > 0);
    close_file(f, second);
    assert_int_equal(live_switch_drain_until(f->tree, s), 0);
    (void)live_switch_free(s);
}

static void attributes_settle_with_the_last_old_file(void **state)
{
    struct fixture *f = *state;
    struct open_file *old = open_file(f, READER), *new;

    assert_true(live_file_is_settled(f->tree, f->file));
    change(f, "a=newer");
    assert_read(f, old, 0, 100, "old");
    new = open_file(f, READER);
    close_file(f, new);
    assert_false(live_file_is_settled(f->tree, f->file));
    close_file(f, old);
    assert_true(live_file_is_settled(f->tree, f->file));
}

static void immutable_files_are_counted_only(void **state)
{
    struct fixture *f = *state;
    struct open_file *file;
    struct live_switch *s;

    f->file = make_file(f, "immutable", false);
    assert_int_equal(open_file_new(&f->files, f->file, READER, &file), 0);
    assert_null(file);
    assert_int_equal(size_for(f, READER), 3);
    assert_int_equal(live_file_make(f->tree, f->file), 0);
    s = prepare(f, "a=newer");
    assert_true(live_switch_is_partial(s));
    (void)live_switch_free(s);
    close_file(f, NULL);
    s = prepare(f, "a=newer");
    assert_false(live_switch_is_partial(s));
    (void)live_switch_free(s);
}

/* What could not be opened is not waited for, nor does it keep the attributes from being kept. */
static int open_and_close(void *userdata)
{
    struct fixture *f = userdata;
    struct open_file *file = NULL;
    int r = open_file_new(&f->files, f->file, READER, &file);

    if (r == 0)
        close_file(f, file);
    return r;
}

static void memory_can_be_short(void **state)
{
    struct fixture *f = *state;
    struct live_switch *s;

    failmalloc_try(open_and_close, f);
    s = prepare(f, "a=newer");
    assert_int_equal(live_switch_drain_until(f->tree, s), 0);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_true(live_file_is_settled(f->tree, f->file));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(open_file_keeps_its_content),
        TEST(size_goes_with_what_is_unread),
        TEST(times_go_with_the_size),
        TEST(closing_is_the_end_as_well),
        TEST(newest_counts),
        TEST(oldest_are_forgotten),
        TEST(unknown_thread_is_never_matched),
        TEST(other_files_are_not_matched),
        TEST(only_files_are_opened),
        TEST(opens_wait_for_a_switch),
        TEST(switches_know_what_is_read),
        TEST(attributes_settle_with_the_last_old_file),
        TEST(immutable_files_are_counted_only),
        TEST(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("open files", tests, NULL, NULL);
}
