/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encoding/field.h"

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    return json;
}

static void path_names_the_field(void **state)
{
    const struct field none = FIELD(NULL, ""), root = FIELD(NULL, "root");
    const struct field list = FIELD(&root, "list"), item = FIELD_AT(&list, 12);
    struct error e;

    error_set(&e, -EINVAL, "why");
    assert_int_equal(field_error(&none, &e, -EINVAL), -EINVAL);
    assert_string_equal(e.text, "why");
    assert_int_equal(field_error(&FIELD(&item, "mode"), &e, -EINVAL), -EINVAL);
    assert_string_equal(e.text, "root.list[12].mode: why");
    error_set(&e, -EINVAL, "why");
    assert_int_equal(field_error(&FIELD(&none, "a"), &e, -ENOMEM), -ENOMEM);
    assert_string_equal(e.text, "a: why");
}

static void long_path_is_cut(void **state)
{
    struct field chain[20];
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(chain); i++)
        chain[i] = FIELD(i > 0 ? &chain[i - 1] : NULL, "a-name-of-some-length");
    error_set(&e, -EINVAL, "why");
    field_error(&chain[ELEMENTS_OF(chain) - 1], &e, -EINVAL);
    assert_true(strlen(e.text) < 270);
    assert_non_null(strstr(e.text, "a-name-of-some-length.a-name-of-some-length"));
    assert_non_null(strstr(e.text, ": why"));
}

static void unknown_members_are_refused(void **state)
{
    static const struct {
        const char *json, *known, *message;
    } cases[] = {
        {"[]", "a", "at: expected a mapping"},
        {"null", "a", "at: expected a mapping"},
        {"{\"b\": 1}", "a, ab, ba", "at.b: unknown field, expected one of: a, ab, ba"},
        {"{\"a\": 1, \"\": 1}", "a, b", "at: unknown field"},
        {"{\"a,\": 1}", "a, b", "at.a,: unknown field"},
        {"{\"stringdata\": 1}", "data, stringData",
         "data, stringData; did you mean \"stringData\"?"},
        {"{\"dat\": 1}", "type, data", "did you mean \"data\"?"},
        {"{\"immutabel\": 1}", "data, immutable", "did you mean \"immutable\"?"},
    };
    const struct field at = FIELD(NULL, "at");
    cJSON *good = parse("{\"b\": null, \"a\": 1}");

    assert_int_equal(field_check_members(good, &at, "a, b", NULL), 0);
    cJSON_Delete(good);
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        cJSON *json = parse(cases[i].json);
        struct error e = ERROR_INIT;

        assert_int_equal(field_check_members(json, &at, cases[i].known, &e), -EINVAL);
        assert_non_null(strstr(e.text, cases[i].message));
        cJSON_Delete(json);
    }
}

static void absent_members_leave_defaults(void **state)
{
    const struct field at = FIELD(NULL, "at");
    cJSON *json = parse("{\"null\": null}");
    const char *text = "x";
    unsigned number = 7;
    bool flag = true;

    assert_null(field_member(json, "null"));
    assert_null(field_member(NULL, "null"));
    assert_int_equal(field_check_list(NULL, &at, NULL), 0);
    assert_int_equal(field_read_text(json, &at, "null", &text, NULL), 0);
    assert_null(text);
    assert_int_equal(field_read_number(json, &at, "a", 9, &number, NULL), 0);
    assert_int_equal(number, 7);
    assert_int_equal(field_read_flag(json, &at, "a", &flag, NULL), 0);
    assert_false(flag);
    cJSON_Delete(json);
}

static void values_are_read(void **state)
{
    const struct field at = FIELD(NULL, "at");
    cJSON *json = parse("{\"t\": \"text\", \"n\": 9, \"f\": true, \"l\": []}");
    const char *text = NULL;
    unsigned number = 0;
    bool flag = false;

    assert_int_equal(field_read_required_text(json, &at, "t", &text, NULL), 0);
    assert_string_equal(text, "text");
    assert_int_equal(field_read_number(json, &at, "n", 9, &number, NULL), 0);
    assert_int_equal(number, 9);
    assert_int_equal(field_read_flag(json, &at, "f", &flag, NULL), 0);
    assert_true(flag);
    assert_int_equal(field_check_list(field_member(json, "l"), &at, NULL), 0);
    cJSON_Delete(json);
}

static void wrong_values_are_named(void **state)
{
    const struct field at = FIELD(NULL, "at");
    cJSON *json = parse("{\"t\": \"\", \"n\": [10, -1, 1.5], \"f\": 1}");
    struct error e = ERROR_INIT;
    const char *text = "unchanged";
    unsigned number = 7;
    bool flag = true;

    assert_int_equal(field_read_text(json, &at, "f", &text, &e), -EINVAL);
    assert_string_equal(e.text, "at.f: expected a string: put it in quotes");
    assert_int_equal(field_read_required_text(json, &at, "t", &text, &e), -EINVAL);
    assert_string_equal(e.text, "at.t: required field is missing");
    assert_int_equal(field_read_required_text(json, &at, "u", &text, &e), -EINVAL);
    assert_string_equal(e.text, "at.u: required field is missing");
    assert_string_equal(text, "unchanged");
    assert_int_equal(field_read_flag(json, &at, "f", &flag, &e), -EINVAL);
    assert_string_equal(e.text, "at.f: expected true or false");
    assert_true(flag);
    assert_int_equal(field_read_number(json, &at, "t", 9, &number, &e), -EINVAL);
    assert_string_equal(e.text, "at.t: expected a number, without quotes");
    while (cJSON_GetArraySize(field_member(json, "n")) > 0) {
        cJSON *holder = cJSON_CreateObject();

        cJSON_AddItemToObject(holder, "n",
                              cJSON_DetachItemFromArray(cJSON_GetObjectItem(json, "n"), 0));
        assert_int_equal(field_read_number(holder, &at, "n", 9, &number, &e), -EINVAL);
        assert_string_equal(e.text, "at.n: expected a whole number from 0 to 9");
        cJSON_Delete(holder);
    }
    assert_int_equal(number, 7);
    assert_int_equal(field_check_list(json, &at, &e), -EINVAL);
    assert_string_equal(e.text, "at: expected a list");
    cJSON_Delete(json);
}

static void one_member_is_found(void **state)
{
    const struct field at = FIELD(NULL, "at");
    cJSON *json = parse("{\"name\": 1, \"a\": null, \"b\": 2}");
    struct error e = ERROR_INIT;
    const cJSON *found = field_find_only(json, &at, "name, other", "a, b", &e);

    assert_string_equal(found->string, "b");
    assert_null(field_find_only(json, &at, "name, b", "a, b", &e));
    assert_string_equal(e.text, "at: expected one of: a, b");
    assert_null(field_find_only(json, &at, "", "a, b", &e));
    assert_string_equal(e.text, "at.b: conflicts with name: only one of them is allowed");
    assert_null(field_find_only(json, &at, "", "a, name", &e)); /* a whole manifest, say */
    assert_string_equal(e.text, "at.b: unknown field, expected one of: a, name");
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_names_the_field),
        cmocka_unit_test(long_path_is_cut),
        cmocka_unit_test(unknown_members_are_refused),
        cmocka_unit_test(absent_members_leave_defaults),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(one_member_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
