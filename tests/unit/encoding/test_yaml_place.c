/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encoding/yaml_place.h"

#include "tests/unit/failmalloc.h"

static struct yaml_place *parse(const char *text, size_t root_line)
{
    struct yaml_place *root = NULL;
    struct error e = ERROR_INIT;

    if (yaml_place_parse(text, strlen(text), 1, root_line, &root, &e) < 0)
        fail_msg("%s: %s", text, e.text);
    return root;
}

/* The value of the key k, as it stands in the text. */
static const struct {
    const char *text;
    const char *expected;
} values[] = {
    {"k: a", "a"},
    {"k: a b  # c\n", "a b"},
    {"k: 'a' # c\n", "'a'"},
    {"k: \"a\\n\"\n", "\"a\\n\""},
    {"k: *a\n", "*a"},
    {"k: &x a\n", "&x a"},
    {"k: !!str a\n", "!!str a"},
    {"k:\nl: 1\n", ""},
    {"k: # c\n\nl: 1\n", ""},
    {"k: |\n  a\n\n  b\n\n\nl: 1\n", "|\n  a\n\n  b"},
    {"k: |-\n  # a\n# b\nl: 1\n", "|-\n  # a"},
    {"k: {a: [b]} # c\n", "{a: [b]}"},
    {"k: [a, b,\n c ]\n", "[a, b,\n c ]"},
    {"k: [a: b , c]\n", "[a: b , c]"},
    {"k:\n- a\n- b # c\n# d\nl: 1\n", "- a\n- b"},
    {"k:\n  - a:\n      b: c\n\nl: 1\n", "- a:\n      b: c"},
    {"k:\n  a: b\n  c:\n", "a: b\n  c:"},
    {"\xc3\xa9: \xf0\x9f\x98\x80\nk: a\xc3\xa9 # c\n", "a\xc3\xa9"},
    {"\xef\xbb\xbfk: a\n", "a"},
    {"{\"s\": \"\\ud83d\\ude00\", \"k\":\t\"\\/\"}", "\"\\/\""},
};

static void test_values(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(values); i++) {
        struct yaml_place *root = parse(values[i].text, 1);
        const struct yaml_place *value = yaml_place_member(root, "k");
        char found[100] = "";

        assert_non_null(value);
        memcpy(found, values[i].text + value->begin, value->end - value->begin);
        assert_string_equal(found, values[i].expected);
        yaml_place_free(root);
    }
}

static void test_keys(void **state)
{
    struct yaml_place *root = parse("a: {b: 1}\n? [k]\n: 2\n\"c\": 3\n<<: {d: 4}\n", 1);

    assert_string_equal(yaml_place_member(yaml_place_member(root, "a"), "b")->value, "1");
    assert_string_equal(yaml_place_member(root, "c")->value, "3");
    assert_int_equal(yaml_place_key(root, "c")->line, 4);
    assert_null(yaml_place_member(root, "d"));
    assert_null(yaml_place_member(root, "k"));
    assert_null(yaml_place_member(yaml_place_member(root, "c"), "x"));
    assert_null(yaml_place_member(NULL, "x"));
    yaml_place_free(root);
}

static void test_kinds(void **state)
{
    struct yaml_place *root = parse("a:\n  - &x {}\n  - *x\n  - [b]\n", 1);
    const struct yaml_place *list = yaml_place_member(root, "a"), *item = list->child;

    assert_int_equal(list->kind, PLACE_SEQUENCE);
    assert_false(list->is_flow);
    assert_int_equal(list->column, 2);
    assert_true(item->kind == PLACE_MAPPING && item->is_flow && item->has_anchor);
    assert_int_equal(item->next->kind, PLACE_ALIAS);
    assert_true(item->next->next == list->last_child && list->last_child->is_flow);
    assert_true(list->parent == root);
    yaml_place_free(root);
}

static void test_documents(void **state)
{
    const char *text = "# a\na: 1\n...\n---\nb: 2\n";
    struct yaml_place *root = parse(text, 5);
    struct error e = ERROR_INIT;

    assert_string_equal(yaml_place_member(root, "b")->value, "2");
    root = yaml_place_free(root);
    assert_int_equal(yaml_place_parse(text, strlen(text), 11, 15, &root, &e), 0);
    assert_int_equal(root->line, 15);
    root = yaml_place_free(root);
    assert_int_equal(yaml_place_parse(text, strlen(text), 1, 3, &root, &e), -EINVAL);
    assert_string_equal(e.text, "line 3: no document begins there");
    assert_null(root);
}

static void test_refused_text(void **state)
{
    const char *text = "a: 1\nb: \"\\'\"\n";
    struct yaml_place *root = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(yaml_place_parse(text, strlen(text), 3, 3, &root, &e), -EINVAL);
    assert_string_equal(e.text, "line 4: found unknown escape character");
}

static int try_parse(void *userdata)
{
    struct yaml_place *root = NULL;
    int r = yaml_place_parse(userdata, strlen(userdata), 1, 1, &root, NULL);

    yaml_place_free(root);
    return r;
}

static void test_out_of_memory(void **state)
{
    char yaml[] = "a: &a {b: 1, c: [x, 'y']}\n1: *a\n";
    char json[] = "{\"a\": [1, {\"b\": \"\\ud83d\\ude00\"}]}";

    failmalloc_try(try_parse, yaml);
    failmalloc_try(try_parse, json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_keys),
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_refused_text), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
