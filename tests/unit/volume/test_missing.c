/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/missing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct object_key key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "db"};

static struct object *make_object(void)
{
    static const struct object_input inputs[] = {
        {.key = "text", .text = "a", .len = 1, .encoding = OBJECT_RAW},
        {.key = "binary", .text = "a", .len = 1, .encoding = OBJECT_RAW, .is_binary = true},
    };
    const struct object like = {.key = key};
    struct object *object;

    assert_int_equal(object_new(&like, inputs, ELEMENTS_OF(inputs), &object, NULL), 0);
    return object;
}

/* What is found of a source: "": nothing, "object", or the key. */
static const char *found(bool is_missing, const struct missing *missing)
{
    if (!is_missing)
        return "";
    assert_ptr_equal(missing->key, &key);
    assert_int_equal(missing->object != NULL, missing->data_key != NULL);
    return missing->object != NULL ? missing->data_key : "object";
}

static void of_a_volume(void **state)
{
    static const struct {
        enum store_presence presence;
        enum object_kind kind;
        bool is_optional;
        const char *items[2];
        size_t n_items;
        const char *found;
    } cases[] = {
        {STORE_UNKNOWN, OBJECT_SECRET, false, {NULL}, 0, ""},
        {STORE_ABSENT, OBJECT_SECRET, false, {NULL}, 0, "object"},
        {STORE_ABSENT, OBJECT_SECRET, false, {"text"}, 1, "object"},
        {STORE_ABSENT, OBJECT_SECRET, true, {NULL}, 0, ""},
        {STORE_ABSENT, OBJECT_CLUSTER_TRUST_BUNDLE, false, {NULL}, 0, ""},
        {STORE_PRESENT, OBJECT_SECRET, false, {NULL}, 0, ""},
        {STORE_PRESENT, OBJECT_SECRET, false, {"text", "binary"}, 2, ""},
        {STORE_PRESENT, OBJECT_SECRET, false, {"text", "txt"}, 2, "txt"},
        {STORE_PRESENT, OBJECT_SECRET, true, {"txt"}, 1, ""},
    };
    _cleanup_(object_unrefp) struct object *object = make_object();

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct volume_item items[2] = {{.key = cases[i].items[0]}, {.key = cases[i].items[1]}};
        const struct volume_source source = {.kind = cases[i].kind,
                                             .is_optional = cases[i].is_optional,
                                             .items = items,
                                             .n_items = cases[i].n_items};
        const struct store_view view = {
            .key = &key, .presence = cases[i].presence, .object = object};
        struct missing missing;

        if (!streq(found(missing_of_volume_source(&source, &view, &missing), &missing),
                   cases[i].found))
            fail_msg("case %zu", i);
    }
}

static void of_an_environment(void **state)
{
    static const struct {
        enum store_presence presence;
        enum env_source_kind kind;
        bool is_optional;
        const char *key;
        const char *found;
    } cases[] = {
        {STORE_UNKNOWN, ENV_OBJECT, false, NULL, ""},
        {STORE_ABSENT, ENV_OBJECT, false, NULL, "object"},
        {STORE_ABSENT, ENV_KEY, false, "text", "object"},
        {STORE_ABSENT, ENV_KEY, true, "text", ""},
        {STORE_PRESENT, ENV_OBJECT, false, NULL, ""},
        {STORE_PRESENT, ENV_KEY, false, "text", ""},
        {STORE_PRESENT, ENV_KEY, false, "binary", "binary"},
        {STORE_PRESENT, ENV_KEY, false, "txt", "txt"},
        {STORE_PRESENT, ENV_KEY, true, "txt", ""},
    };
    _cleanup_(object_unrefp) struct object *object = make_object();

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        const struct env_source source = {
            .kind = cases[i].kind, .key = cases[i].key, .is_optional = cases[i].is_optional};
        const struct store_view view = {
            .key = &key, .presence = cases[i].presence, .object = object};
        struct missing missing;

        if (!streq(found(missing_of_env_source(&source, &view, &missing), &missing),
                   cases[i].found))
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_volume),
        cmocka_unit_test(of_an_environment),
    };

    return cmocka_run_group_tests_name("missing", tests, NULL, NULL);
}
