/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/spec.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct payload *project(enum object_kind kind, const struct object_input *inputs, size_t n)
{
    const struct object like = {.key = {.kind = kind, .namespace = "default", .name = "dummy"}};
    const struct volume_spec spec = {.object = like.key, .default_mode = 0600};
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;

    assert_int_equal(object_new(&like, inputs, n, &object, NULL), 0);
    assert_int_equal(volume_spec_project(&spec, object, &payload, NULL), 0);
    return payload;
}

/* B1, B10: a file for each key, of the default mode, the bytes as they are, none included. */
static void every_key_becomes_a_file(void **state)
{
    const struct object_input inputs[] = {{.key = ".hidden", .text = "", .len = 0},
                                          {.key = "k", .text = "a\0\n", .len = 3}};
    _cleanup_(payload_unrefp) struct payload *p = NULL;

    (void)state;
    p = project(OBJECT_SECRET, inputs, ELEMENTS_OF(inputs));
    assert_int_equal(p->n_files, 2);
    assert_string_equal(p->files[0].path, ".hidden");
    assert_int_equal(p->files[0].len, 0);
    assert_int_equal(p->files[0].mode, 0600);
    assert_memory_equal(p->files[1].bytes, "a\0\n", 3);
}

/* A10 */
static void object_without_keys_gives_an_empty_payload(void **state)
{
    _cleanup_(payload_unrefp) struct payload *p = project(OBJECT_SECRET, NULL, 0);

    (void)state;
    assert_int_equal(p->n_files, 0);
}

/* M3: without items, whatever the order in which the maps came. */
static void binary_data_wins_over_data(void **state)
{
    const struct object_input inputs[] = {
        {.key = "k", .text = "binary", .len = 6, .is_binary = true},
        {.key = "k", .text = "text", .len = 4}};
    _cleanup_(payload_unrefp) struct payload *p = NULL;

    (void)state;
    p = project(OBJECT_CONFIGMAP, inputs, ELEMENTS_OF(inputs));
    assert_int_equal(p->n_files, 1);
    assert_memory_equal(p->files[0].bytes, "binary", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_becomes_a_file),
        cmocka_unit_test(object_without_keys_gives_an_empty_payload),
        cmocka_unit_test(binary_data_wins_over_data),
    };

    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
