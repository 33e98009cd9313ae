/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/snapshots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define READER 11
#define OTHER  12

/* A tree with one file, whose content can be changed. */
struct fixture {
    struct tree *tree;
    struct snapshots snapshots;
    uint64_t directory;
    uint64_t file;
};

static struct payload *make_payload(const char *text)
{
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    const struct object_input input = {.key = "a", .text = text, .len = strlen(text)};
    const struct payload_attributes attributes = {.mode = 0644};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(
        payload_builder_add(builder, "a", object, &object->entries[0], &attributes, NULL), 0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}

static void change(struct fixture *f, const char *text)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(text);
    size_t changed[1];

    assert_int_equal(tree_update(f->tree, f->directory, payload, changed), 1);
}

static int setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload("old");
    static struct fixture f;
    struct stat stat;

    f = (struct fixture){0};
    snapshots_init(&f.snapshots);
    assert_int_equal(tree_new(&options, &f.tree), 0);
    assert_int_equal(tree_stage(f.tree, "g", payload), 0);
    assert_int_equal(tree_mkdir(f.tree, TREE_ROOT_ID, "g", 0755, &stat), 0);
    f.directory = stat.st_ino;
    assert_int_equal(tree_find(f.tree, f.directory, "a", &stat), 0);
    f.file = stat.st_ino;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    snapshots_deinit(&f->snapshots);
    (void)tree_free(f->tree);
    return 0;
}

static struct snapshot *open_file(struct fixture *f, pid_t thread)
{
    struct snapshot *snapshot = NULL;

    assert_int_equal(snapshot_open(&f->snapshots, f->tree, f->file, thread, &snapshot), 0);
    return snapshot;
}

static void assert_read(struct fixture *f, struct snapshot *s, size_t offset, size_t size,
                        const char *text)
{
    const uint8_t *bytes;
    size_t len = snapshot_read(&f->snapshots, s, offset, size, &bytes);

    assert_int_equal(len, strlen(text));
    assert_memory_equal(bytes, text, len);
}

/* The size that a thread is told. */
static off_t size_for(struct fixture *f, pid_t thread)
{
    struct stat stat;

    assert_int_equal(tree_stat(f->tree, f->file, &stat), 0);
    (void)snapshots_stat(&f->snapshots, thread, &stat);
    return stat.st_size;
}

static void open_file_keeps_its_content(void **state)
{
    struct fixture *f = *state;
    struct snapshot *old = open_file(f, READER), *new;

    change(f, "newer");
    new = open_file(f, READER);
    assert_read(f, old, 0, 100, "old");
    assert_read(f, old, 1, 1, "l");
    assert_read(f, old, 3, 100, "");
    assert_read(f, old, 300, 100, "");
    assert_read(f, new, 0, 100, "newer");
    snapshot_close(&f->snapshots, old);
    snapshot_close(&f->snapshots, new);
}

static void size_goes_with_what_is_unread(void **state)
{
    struct fixture *f = *state;
    struct snapshot *s = open_file(f, READER);

    change(f, "newer");
    assert_int_equal(size_for(f, READER), 3);
    assert_int_equal(size_for(f, OTHER), 5);
    assert_read(f, s, 0, 2, "ol");
    assert_int_equal(size_for(f, READER), 3);
    assert_read(f, s, 2, 100, "d");
    assert_int_equal(size_for(f, READER), 5);
    snapshot_close(&f->snapshots, s);
}

static void closing_is_the_end_as_well(void **state)
{
    struct fixture *f = *state;
    struct snapshot *s = open_file(f, READER);

    change(f, "newer");
    snapshot_close(&f->snapshots, s);
    assert_int_equal(size_for(f, READER), 5);
}

static void newest_counts(void **state)
{
    struct fixture *f = *state;
    struct snapshot *first = open_file(f, READER), *second;

    change(f, "newer");
    second = open_file(f, READER);
    change(f, "newest");
    assert_int_equal(size_for(f, READER), 5);
    assert_read(f, second, 0, 100, "newer");
    assert_int_equal(size_for(f, READER), 3);
    snapshot_close(&f->snapshots, first);
    snapshot_close(&f->snapshots, second);
}

static void oldest_are_forgotten(void **state)
{
    struct fixture *f = *state;
    struct snapshot *first = open_file(f, READER), *others[1024];

    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        others[i] = open_file(f, OTHER);
    change(f, "newer");
    assert_int_equal(size_for(f, READER), 5);
    assert_int_equal(size_for(f, OTHER), 3);
    assert_read(f, first, 0, 100, "old");
    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        snapshot_close(&f->snapshots, others[i]);
    snapshot_close(&f->snapshots, first);
}

static void only_files_are_opened(void **state)
{
    struct fixture *f = *state;
    struct snapshot *s = NULL;

    assert_int_equal(snapshot_open(&f->snapshots, f->tree, f->directory, READER, &s), -EISDIR);
    assert_int_equal(snapshot_open(&f->snapshots, f->tree, 99, READER, &s), -ESTALE);
    assert_null(s);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(open_file_keeps_its_content), TEST(size_goes_with_what_is_unread),
        TEST(closing_is_the_end_as_well),  TEST(newest_counts),
        TEST(oldest_are_forgotten),        TEST(only_files_are_opened),
    };

    return cmocka_run_group_tests_name("snapshots", tests, NULL, NULL);
}
