/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PEM_BLOCK "-----BEGIN X-----\nAAAA\n-----END X-----\n"

/* Check one key "k" with some bytes, or none with NULL. Return: the reason, or "". */
static const char *check(unsigned checks, const struct volume_source *source, const char *text,
                         struct error *e)
{
    static const struct volume_source all;
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "s"}};
    const struct object_input input = {.key = "k", .text = text, .len = text ? strlen(text) : 0};
    _cleanup_(object_unrefp) struct object *object = NULL;
    int r;

    *e = (struct error)ERROR_INIT;
    assert_int_equal(object_new(&like, &input, text != NULL, &object, NULL), 0);
    r = volume_check_object(checks, source != NULL ? source : &all, object, e);
    assert_true(r == (e->text[0] != '\0' ? -EINVAL : 0));
    return e->text;
}

static void test_values(void **state)
{
    static const struct {
        const char *word;
        const char *text;
        const char *reason; /* NULL: valid */
    } cases[] = {
        {"nonempty", "x", NULL},
        {"nonempty", "", "key \"k\" is empty"},
        {"nonempty", NULL, "it has no keys"},
        {"json", "{\"a\": [1]}", NULL},
        {"json", "\"a\\u0000\"", NULL},
        {"json", "{", "key \"k\" is invalid JSON"},
        {"json", "1 2", "key \"k\" is invalid JSON"},
        {"json", "", "key \"k\" is invalid JSON"},
        {"json", NULL, NULL},
        {"yaml", "a: 1\n---\nb: 2\n", NULL},
        {"yaml", "a: [", "key \"k\" is invalid YAML"},
        {"yaml", "a: 1\n---\nb: {\n", "key \"k\" is invalid YAML"},
        {"yaml", "a: \xff", "key \"k\" is invalid YAML"},
        {"pem", PEM_BLOCK, NULL},
        {"pem", "text\n" PEM_BLOCK "text\n" PEM_BLOCK "text\n", NULL},
        {"pem", "", "key \"k\" is invalid PEM"},
        {"pem", "text\n", "key \"k\" is invalid PEM"},
        {"pem", PEM_BLOCK "-----BEGIN X-----\nAAAA\n", "key \"k\" is invalid PEM"},
        {"pem", "-----BEGIN X-----\nA!\n-----END X-----\n", "key \"k\" is invalid PEM"},
        {"pem", "-----BEGIN X-----\nAAAA\n-----END Y-----\n", "key \"k\" is invalid PEM"},
    };
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        unsigned bit = volume_check_of_word(cases[i].word);

        assert_true(bit != 0);
        assert_string_equal(check(bit, NULL, cases[i].text, &e),
                            cases[i].reason != NULL ? cases[i].reason : "");
    }
    assert_int_equal(volume_check_of_word("tls"), 0);
    assert_int_equal(volume_check_of_word(""), 0);
}

static void test_each_check_counts(void **state)
{
    struct error e;

    assert_string_equal(check(VOLUME_CHECK_YAML | VOLUME_CHECK_JSON, NULL, "a: 1", &e),
                        "key \"k\" is invalid JSON");
    assert_string_equal(check(0, NULL, "", &e), "");
}

static void test_keys_that_are_not_shown_do_not_count(void **state)
{
    struct volume_item items[] = {{.key = "other", .path = "p"}};
    const struct volume_source source = {.items = items, .n_items = 1};
    struct error e;

    assert_string_equal(check(VOLUME_CHECK_JSON, &source, "{", &e), "");
    assert_string_equal(check(VOLUME_CHECK_NONEMPTY, &source, "x", &e), "it has no keys");
    items[0].key = "k";
    assert_string_equal(check(VOLUME_CHECK_JSON, &source, "{", &e), "key \"k\" is invalid JSON");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_each_check_counts),
        cmocka_unit_test(test_keys_that_are_not_shown_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
