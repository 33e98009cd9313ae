/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/payload.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

/* An object with the keys "a", "b" and "c", whose values are "1", "22" and "333". */
static struct object *make_object(void)
{
    const struct object_input inputs[] = {
        {.key = "a", .text = "1", .len = 1},
        {.key = "b", .text = "22", .len = 2},
        {.key = "c", .text = "333", .len = 3},
    };
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, inputs, ELEMENTS_OF(inputs), &object, NULL), 0);
    return object;
}

struct item {
    const char *path;
    const char *key;
    mode_t mode;
};

/* Return: the first error of payload_builder_add() or _finish(). */
static int build(const struct item *items, size_t n, struct payload **ret_payload, struct error *e)
{
    _cleanup_(object_unrefp) struct object *object = make_object();
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;

    assert_int_equal(payload_builder_new(&builder), 0);
    for (size_t i = 0; i < n; i++) {
        const struct object_entry *entry = object_find(object, items[i].key);
        const struct payload_attributes attributes = {
            .mode = items[i].mode, .uid = 7, .gid = PAYLOAD_ID_INHERITED};
        int r = payload_builder_add(builder, items[i].path, object, entry, &attributes, e);

        if (r < 0)
            return r;
    }
    return payload_builder_finish(builder, ret_payload, e);
}

static void assert_file(const struct payload *p, size_t i, const char *path, const char *bytes)
{
    assert_true(i < p->n_files);
    assert_string_equal(p->files[i].path, path);
    assert_int_equal(p->files[i].len, strlen(bytes));
    assert_memory_equal(p->files[i].bytes, bytes, strlen(bytes));
}

static void payload_is_sorted_and_keeps_attributes(void **state)
{
    const struct item items[] = {{"z", "a", 0644}, {"d/e/f", "b", 0400}, {"d-x", "c", 010755}};
    _cleanup_(payload_unrefp) struct payload *p = NULL;

    assert_int_equal(build(items, ELEMENTS_OF(items), &p, NULL), 0);
    assert_int_equal(p->n_files, 3);
    assert_file(p, 0, "d-x", "333");
    assert_file(p, 1, "d/e/f", "22");
    assert_file(p, 2, "z", "1");
    assert_int_equal(p->files[0].attributes.mode, 0755);
    assert_int_equal(p->files[1].attributes.mode, 0400);
    assert_int_equal(p->files[1].attributes.uid, 7);
    assert_int_equal(p->files[1].attributes.gid, PAYLOAD_ID_INHERITED);
}

static void empty_payload_is_one(void **state)
{
    _cleanup_(payload_unrefp) struct payload *p = NULL;

    assert_int_equal(build(NULL, 0, &p, NULL), 0);
    assert_int_equal(p->n_files, 0);
}

/* B3: two items of the same path, the later one wins; B5: after cleaning. */
static void later_file_of_a_path_wins(void **state)
{
    const struct item items[] = {
        {"x", "a", 0600}, {"x", "b", 0640}, {"y/z", "a", 0600}, {"./y//z/", "c", 0604}};
    _cleanup_(payload_unrefp) struct payload *p = NULL;

    assert_int_equal(build(items, ELEMENTS_OF(items), &p, NULL), 0);
    assert_int_equal(p->n_files, 2);
    assert_file(p, 0, "x", "22");
    assert_int_equal(p->files[0].attributes.mode, 0640);
    assert_file(p, 1, "y/z", "333");
}

static void paths_are_checked_and_cleaned(void **state)
{
    static const struct {
        const char *path;
        const char *cleaned; /* NULL: refused */
    } cases[] = {
        {"a", "a"},
        {"a//b", "a/b"},        /* B5 */
        {"a/", "a"},            /* B5 */
        {"./a", "a"},           /* B5 */
        {"x/..y", "x/..y"},     /* B7 */
        {"..", NULL},           /* B6 */
        {"a/../b", NULL},       /* B6 */
        {"", NULL},             /* B6 */
        {"/a", NULL},           /* B6 */
        {"..foo", NULL},        /* B6 */
        {"...", NULL},          /* B6 */
        {"./..foo", NULL},      /* B7: the gap */
        {".//./..data", NULL},  /* B7 */
        {".", NULL},            /* B8 */
        {"./", NULL},           /* B8 */
        {".hidden", ".hidden"}, /* L1 */
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        const struct item item = {cases[i].path, "a", 0644};
        _cleanup_(payload_unrefp) struct payload *p = NULL;
        struct error e = ERROR_INIT;
        int r = build(&item, 1, &p, &e);

        if (cases[i].cleaned != NULL) {
            assert_int_equal(r, 0);
            assert_file(p, 0, cases[i].cleaned, "1");
        } else {
            assert_int_equal(r, -EINVAL);
            assert_non_null(strstr(e.text, cases[i].path));
        }
    }
}

static void long_paths_are_refused(void **state)
{
    char element[PAYLOAD_ELEMENT_MAX + 2], path[PAYLOAD_PATH_MAX + 2];
    struct item item = {element, "a", 0644};
    struct payload *p = NULL;

    memset(element, 'e', sizeof(element) - 1);
    element[PAYLOAD_ELEMENT_MAX + 1] = '\0';
    assert_int_equal(build(&item, 1, &p, NULL), -EINVAL);
    element[PAYLOAD_ELEMENT_MAX] = '\0';
    assert_int_equal(build(&item, 1, &p, NULL), 0);
    p = payload_unref(p);

    for (size_t i = 0; i < sizeof(path) - 1; i++)
        path[i] = i % 100 == 99 ? '/' : 'p';
    path[PAYLOAD_PATH_MAX + 1] = '\0';
    item.path = path;
    assert_int_equal(build(&item, 1, &p, NULL), -EINVAL);
    path[PAYLOAD_PATH_MAX - 1] = '\0';
    assert_int_equal(build(&item, 1, &p, NULL), 0);
    payload_unref(p);
}

/* Write a path of @n elements. Elements that cleaning drops do not count. */
static void write_deep_path(char *path, size_t n)
{
    char *at = stpcpy(path, "./");

    for (size_t i = 1; i < n; i++)
        at = stpcpy(at, "p/");
    stpcpy(at, "/p");
}

static void deep_paths_are_refused(void **state)
{
    char path[2 * PAYLOAD_ELEMENTS_MAX + 8];
    struct item item = {path, "a", 0644};
    struct payload *p = NULL;
    struct error e = ERROR_INIT;

    write_deep_path(path, PAYLOAD_ELEMENTS_MAX);
    assert_int_equal(build(&item, 1, &p, NULL), 0);
    payload_unref(p);
    write_deep_path(path, PAYLOAD_ELEMENTS_MAX + 1);
    assert_int_equal(build(&item, 1, &p, &e), -EINVAL);
    assert_non_null(strstr(e.text, "more than 64 elements"));
}

/* B8: also with other files between them in the order of names. */
static void file_below_a_file_is_refused(void **state)
{
    const struct item direct[] = {{"a", "a", 0644}, {"a-b", "b", 0644}, {"a/b", "c", 0644}};
    const struct item deep[] = {{"d/e/f/g", "a", 0644}, {"d/e", "b", 0644}};
    struct payload *p = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(build(direct, ELEMENTS_OF(direct), &p, &e), -EINVAL);
    assert_non_null(strstr(e.text, "\"a/b\""));
    assert_int_equal(build(deep, ELEMENTS_OF(deep), &p, &e), -EINVAL);
    assert_null(p);
}

/* E1 and E2: content counts, modes do not. */
static void same_content_means_paths_and_bytes(void **state)
{
    const struct item base[] = {{"x", "a", 0644}, {"y", "b", 0644}};
    const struct item other_mode[] = {{"y", "b", 0600}, {"x", "a", 0600}};
    const struct item other_bytes[] = {{"x", "a", 0644}, {"y", "c", 0644}};
    const struct item other_path[] = {{"x", "a", 0644}, {"z", "b", 0644}};
    _cleanup_(payload_unrefp) struct payload *p = NULL, *mode = NULL, *bytes = NULL, *path = NULL,
                                             *fewer = NULL;

    assert_int_equal(build(base, 2, &p, NULL), 0);
    assert_int_equal(build(other_mode, 2, &mode, NULL), 0);
    assert_int_equal(build(other_bytes, 2, &bytes, NULL), 0);
    assert_int_equal(build(other_path, 2, &path, NULL), 0);
    assert_int_equal(build(base, 1, &fewer, NULL), 0);
    assert_true(payload_same_content(p, mode));
    assert_false(payload_same_content(p, bytes));
    assert_false(payload_same_content(p, path));
    assert_false(payload_same_content(p, fewer));
}

/* The bytes are the object's own, which therefore has to outlive everybody else's reference. */
static void payload_holds_its_objects(void **state)
{
    struct object *object = make_object();
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(payload_unrefp) struct payload *p = NULL;
    const uint8_t *bytes = object_find(object, "b")->bytes;

    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(payload_builder_add(builder, "f", object, object_find(object, "b"),
                                         &(struct payload_attributes){.mode = 0}, NULL),
                     0);
    assert_int_equal(payload_builder_finish(builder, &p, NULL), 0);
    object_unref(object);
    assert_ptr_equal(p->files[0].bytes, bytes);
    assert_memory_equal(p->files[0].bytes, "22", 2);
}

/* More files than the builder begins with, two of them at one path. */
static int build_many(void *userdata)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(payload_unrefp) struct payload *p = NULL;
    const struct payload_attributes attributes = {.mode = 0644};
    struct object *object = userdata;
    struct error e = ERROR_INIT;
    int r = payload_builder_new(&builder);

    for (char c = 'a'; c <= 't' && r == 0; c++) {
        const char path[] = {c == 't' ? 'a' : c, '\0'};

        r = payload_builder_add(builder, path, object, &object->entries[0], &attributes, &e);
    }
    if (r == 0)
        r = payload_builder_finish(builder, &p, &e);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    struct object *object = make_object();

    failmalloc_try(build_many, object);
    object_unref(object);
}

/* NULL can be freed and unreferenced. */
static void null_can_be_freed(void **state)
{
    assert_null(payload_builder_free(NULL));
    assert_null(payload_unref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payload_is_sorted_and_keeps_attributes),
        cmocka_unit_test(empty_payload_is_one),
        cmocka_unit_test(later_file_of_a_path_wins),
        cmocka_unit_test(paths_are_checked_and_cleaned),
        cmocka_unit_test(long_paths_are_refused),
        cmocka_unit_test(deep_paths_are_refused),
        cmocka_unit_test(file_below_a_file_is_refused),
        cmocka_unit_test(same_content_means_paths_and_bytes),
        cmocka_unit_test(payload_holds_its_objects),
        cmocka_unit_test(allocation_failures_are_reported),
        cmocka_unit_test(null_can_be_freed),
    };

    return cmocka_run_group_tests_name("payload", tests, NULL, NULL);
}
