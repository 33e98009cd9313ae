/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "cache/object.h"
#include "cache/secmem.h"

#include "tests/unit/failmalloc.h"

static const struct object like_secret = {
    .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "db"},
    .uid = "1234",
    .resource_version = "7",
    .type = "Opaque",
};

static struct object_input raw(const char *key, const char *text)
{
    return (struct object_input){.key = key, .text = text, .len = strlen(text)};
}

static struct object_input base64(const char *key, const char *text, bool is_binary)
{
    return (struct object_input){.key = key,
                                 .text = text,
                                 .len = strlen(text),
                                 .encoding = OBJECT_BASE64,
                                 .is_binary = is_binary};
}

static bool entry_is(const struct object_entry *entry, const char *key, const char *bytes)
{
    return entry != NULL && streq(entry->key, key) && entry->len == strlen(bytes) &&
           memcmp(entry->bytes, bytes, entry->len) == 0;
}

static void test_values_are_sorted_and_found(void **state)
{
    const struct object_input inputs[] = {raw("b", "two"), base64("a", "b25l", false), raw("c", ""),
                                          raw(".hidden", "dot"), raw("B", "upper")};
    size_t before = secmem_bytes();
    struct object *o = NULL;

    assert_int_equal(object_new(&like_secret, inputs, ELEMENTS_OF(inputs), &o, NULL), 0);
    assert_int_equal(o->n_entries, 5);
    for (size_t i = 1; i < o->n_entries; i++)
        assert_true(strcmp(o->entries[i - 1].key, o->entries[i].key) < 0);
    assert_true(entry_is(object_find(o, "a"), "a", "one"));
    assert_true(entry_is(object_find(o, "b"), "b", "two"));
    assert_true(entry_is(object_find(o, "c"), "c", ""));
    assert_true(entry_is(object_find(o, "B"), "B", "upper"));
    assert_null(object_find(o, "d"));
    assert_null(object_find(o, ""));
    assert_string_equal(o->key.namespace, "default");
    assert_string_equal(o->key.name, "db");
    assert_string_equal(o->uid, "1234");
    assert_string_equal(o->resource_version, "7");
    assert_string_equal(o->type, "Opaque");
    assert_true(secmem_bytes() > before);
    assert_ptr_equal(object_ref(o), o);
    assert_null(object_unref(o));
    assert_true(entry_is(object_find(o, "a"), "a", "one"));
    assert_null(object_unref(o));
    assert_int_equal(secmem_bytes(), before);
    assert_null(object_unref(NULL));
}

static void test_empty_object(void **state)
{
    const struct object like = {.key = {.kind = OBJECT_CONFIGMAP, .namespace = "x", .name = "y"},
                                .is_immutable = true};
    struct object *o = NULL;

    assert_int_equal(object_new(&like, NULL, 0, &o, NULL), 0);
    assert_int_equal(o->n_entries, 0);
    assert_string_equal(o->uid, "");
    assert_string_equal(o->type, "");
    assert_true(o->is_immutable);
    assert_null(object_find(o, "a"));
    object_unref(o);
}

static void test_later_of_a_repeated_key_counts(void **state)
{
    const struct object_input inputs[] = {raw("a", "first"), raw("b", "x"), raw("a", ""),
                                          raw("a", "last"), base64("a", "YmluYXJ5", true)};
    struct object *o = NULL;

    assert_int_equal(object_new(&like_secret, inputs, ELEMENTS_OF(inputs), &o, NULL), 0);
    assert_int_equal(o->n_entries, 3);
    /* data before binaryData, which is an entry of its own */
    assert_true(entry_is(&o->entries[0], "a", "last"));
    assert_false(o->entries[0].is_binary);
    assert_true(entry_is(&o->entries[1], "a", "binary"));
    assert_true(o->entries[1].is_binary);
    assert_ptr_equal(object_find(o, "a"), &o->entries[0]);
    object_unref(o);
}

static void expect_bad(struct object_input input, int code, const char *message)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    size_t before = secmem_bytes();

    assert_int_equal(object_new(&like_secret, &input, 1, &o, &e), code);
    assert_null(o);
    assert_non_null(strstr(e.text, message));
    assert_null(strstr(e.text, "dummy-value"));
    assert_int_equal(secmem_bytes(), before);
}

/* L1 */
static void test_keys_are_checked(void **state)
{
    static const char *const good[] = {".a", "-x", "9", "a..b", "A_b"};
    static const char *const bad[] = {"", ".", "..", "..a", "a/b", "a b", "\xc3\xa4", "a\n"};
    char key[OBJECT_DATA_KEY_MAX + 2];
    struct object *o = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        assert_false(object_data_key_is_valid(bad[i]));
        expect_bad(raw(bad[i], "dummy-value"), -EINVAL, "is not a valid key");
    }
    for (size_t i = 0; i < ELEMENTS_OF(good); i++) {
        const struct object_input input = raw(good[i], "x");

        assert_true(object_data_key_is_valid(good[i]));
        assert_int_equal(object_new(&like_secret, &input, 1, &o, NULL), 0);
        object_unref(o);
    }
    memset(key, 'k', sizeof(key));
    key[OBJECT_DATA_KEY_MAX + 1] = '\0';
    expect_bad(raw(key, "x"), -EINVAL, "is not a valid key");
    expect_bad(base64("a", "dummy-value", false), -EINVAL, "key \"a\" is not valid base64");
}

/* L3 */
static void test_size_is_limited(void **state)
{
    char *text = calloc(1, OBJECT_DATA_MAX_BYTES + 1);
    struct object_input inputs[2] = {raw("a", ""), raw("b", "")};
    struct object *o = NULL;

    assert_non_null(text);
    inputs[0].text = text;
    inputs[0].len = OBJECT_DATA_MAX_BYTES;
    assert_int_equal(object_new(&like_secret, inputs, 2, &o, NULL), 0);
    object_unref(o);
    inputs[1] = raw("b", "x");
    assert_int_equal(object_new(&like_secret, inputs, 2, &o, NULL), -EFBIG);
    /* overridden values do not count */
    inputs[1] = raw("a", "x");
    assert_int_equal(object_new(&like_secret, inputs, 2, &o, NULL), 0);
    object_unref(o);
    inputs[0].len++;
    expect_bad(inputs[0], -EFBIG, "more than the limit of 1048576");
    free(text);
}

static void test_keys_of_objects(void **state)
{
    const struct object_key x = {OBJECT_DOWNWARD_API, "ns", "a", "x"},
                            y = {OBJECT_DOWNWARD_API, "ns", "a", "y"};
    const struct object_key a = {OBJECT_SECRET, "ns", "a", NULL},
                            b = {OBJECT_SECRET, "ns", "b", NULL},
                            c = {OBJECT_CONFIGMAP, "ns", "a", NULL},
                            d = {OBJECT_SECRET, "nt", "a", NULL};
    struct object_key *copy = object_key_dup(&a);
    char text[OBJECT_KEY_TEXT_SIZE];

    assert_non_null(copy);
    assert_int_equal(object_key_compare(&a, copy), 0);
    assert_ptr_not_equal(copy->name, a.name);
    free(copy);
    assert_true(object_key_compare(&a, &b) < 0 && object_key_compare(&b, &a) > 0);
    assert_true(object_key_compare(&a, &c) < 0 && object_key_compare(&b, &d) < 0);
    assert_true(object_key_compare(&x, &y) < 0 && object_key_compare(&y, &x) > 0);
    copy = object_key_dup(&y);
    assert_int_equal(object_key_compare(&y, copy), 0);
    free(copy);
    assert_string_equal(object_key_text(&c, text), "configmap/ns/a");
    assert_string_equal(object_kind_name(OBJECT_CONFIGMAP), "ConfigMap");
    assert_string_equal(object_kind_plural(OBJECT_SECRET), "secrets");
}

static void test_invalid_objects_are_named(void **state)
{
    static const struct {
        const char *text;
        const char *meant; /* NULL: nothing is near */
    } texts[] = {
        {"db", "secret/db"},
        {"secrit/db", "secret/db"},
        {"configmpa/app", "configmap/app"},
        {"Secret/db", "secret/db"},
        {"configmap/", NULL},
        {"pod/db", NULL},
        {"secrit/a_b", NULL},
        {"secret/default/db", NULL},
        {"", NULL},
        {"/db", NULL},
        {"deployment/secret/db", NULL},
    };

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        struct error e = ERROR_INIT;
        const char *meant;

        assert_int_equal(object_kind_invalid(texts[i].text, &e), -EINVAL);
        assert_non_null(strstr(e.text, "expected secret/NAME or configmap/NAME"));
        meant = strstr(e.text, "; did you mean ");
        if ((meant == NULL) != (texts[i].meant == NULL))
            fail_msg("%s: %s", texts[i].text, e.text);
        if (meant != NULL)
            assert_non_null(strstr(meant, texts[i].meant));
    }
}

/* L2 */
static void test_names(void **state)
{
    static const char *const good[] = {"a", "0", "a-b", "a.b", "a.b-c.0", "x--y"};
    static const char *const bad[] = {"",     "A",    "-a",   "a-",  ".a",  "a.",
                                      "a..b", "a.-b", "a-.b", "a_b", "a/b", "a b"};
    char name[OBJECT_NAME_MAX + 2];

    for (size_t i = 0; i < ELEMENTS_OF(good); i++)
        assert_true(object_name_is_valid(good[i]));
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (object_name_is_valid(bad[i]) || object_namespace_is_valid(bad[i]))
            fail_msg("%s", bad[i]);
    assert_false(object_namespace_is_valid("a.b"));
    memset(name, 'a', sizeof(name));
    name[OBJECT_NAME_MAX + 1] = '\0';
    assert_false(object_name_is_valid(name));
    name[OBJECT_NAME_MAX] = '\0';
    assert_true(object_name_is_valid(name));
    name[OBJECT_NAMESPACE_MAX + 1] = '\0';
    assert_false(object_namespace_is_valid(name));
    name[OBJECT_NAMESPACE_MAX] = '\0';
    assert_true(object_namespace_is_valid(name));
}

static struct object *make(const struct object_input *inputs, size_t n,
                           struct object_staging staging)
{
    struct object like = like_secret, *o = NULL;

    like.staging = staging;
    assert_int_equal(object_new(&like, inputs, n, &o, NULL), 0);
    return o;
}

static void test_content_and_staging_are_compared(void **state)
{
    const struct object_input ab[] = {raw("a", "one"), raw("b", "two")},
                              ba[] = {raw("b", "two"), raw("a", "one")},
                              ac[] = {raw("a", "one"), raw("b", "twO")},
                              ad[] = {raw("a", "one"), raw("d", "two")},
                              ae[] = {raw("a", "one"), raw("b", "two2")};
    const struct {
        const struct object_input *inputs;
        size_t n;
        struct object_staging staging;
        bool same_content, same_staging;
    } cases[] = {
        {ba, 2, {.over = 5}, true, true},
        {ac, 2, {.over = 5}, false, true},
        {ad, 2, {.over = 5}, false, true},
        {ae, 2, {.over = 5}, false, true},
        {ab, 1, {.over = 5}, false, true},
        {ab, 2, {.over = 6}, true, false},
        {ab, 2, {.over = 5, .is_paused = true}, true, false},
        {ab, 2, {.over = 5, .has_first = true}, true, false},
        {ab, 2, {.over = 5, .first_percent = 1}, true, false},
        {ab, 2, {.over = 5, .first_selector = "a"}, true, false},
        {ab, 2, {.over = 5, .invalid = "x"}, true, false},
    };
    struct object *o = make(ab, 2, (struct object_staging){.over = 5});

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct object *other = make(cases[i].inputs, cases[i].n, cases[i].staging);

        if (object_same_content(o, other) != cases[i].same_content ||
            object_same_staging(o, other) != cases[i].same_staging)
            fail_msg("case %zu", i);
        object_unref(other);
    }
    object_unref(o);
}

static int try_object(void *userdata)
{
    const struct object_input inputs[] = {raw("a", "one"), raw("b", "two")};
    struct object *o = NULL;
    int r = object_new(&like_secret, inputs, 2, &o, NULL);
    struct object_key *copy = r >= 0 ? object_key_dup(&o->key) : NULL;

    if (r >= 0 && copy == NULL)
        r = -ENOMEM;
    free(copy);
    object_unref(o);
    return r;
}

static void test_allocation_failures_are_reported(void **state)
{
    size_t before = secmem_bytes();

    failmalloc_try(try_object, NULL);
    assert_int_equal(secmem_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_sorted_and_found),
        cmocka_unit_test(test_empty_object),
        cmocka_unit_test(test_later_of_a_repeated_key_counts),
        cmocka_unit_test(test_keys_are_checked),
        cmocka_unit_test(test_size_is_limited),
        cmocka_unit_test(test_keys_of_objects),
        cmocka_unit_test(test_invalid_objects_are_named),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_content_and_staging_are_compared),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
