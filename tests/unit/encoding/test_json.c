/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "encoding/json.h"

#include "tests/unit/failmalloc.h"

static cJSON *parse(const char *text)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    if (json_parse(text, strlen(text), &json, &e) < 0)
        fail_msg("%s", e.text);
    return json;
}

static void expect_bad(const char *text, size_t len, const char *message)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, len, &json, &e), -EINVAL);
    assert_null(json);
    if (strstr(e.text, message) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", message, e.text);
}

static void test_reads_members(void **state)
{
    cJSON *json = parse("{\"a\":{\"b\":{\"c\":\"text\"}},\"n\":1,\"yes\":true,\"no\":false} \n");

    assert_string_equal(json_text(json_path(json, "a", "b", NULL), "c"), "text");
    assert_null(json_path(json, "a", "x", "c", NULL));
    assert_null(json_text(json, "n"));
    assert_null(json_text(json, "missing"));
    assert_null(json_member(json, "A"));
    assert_null(json_member(NULL, "a"));
    assert_true(json_is_true(json, "yes"));
    assert_false(json_is_true(json, "no"));
    assert_false(json_is_true(json, "n"));
    cJSON_Delete(json);
}

static void test_adds_members(void **state)
{
    cJSON *json = cJSON_CreateObject();

    assert_int_equal(json_add_text(json, "a", "text"), 0);
    assert_int_equal(json_add_text(json, "b", NULL), 0);
    assert_int_equal(json_add_number(json, "n", 7), 0);
    assert_string_equal(json_text(json, "a"), "text");
    assert_null(json_member(json, "b"));
    assert_true(cJSON_GetNumberValue(json_member(json, "n")) == 7);
    cJSON_Delete(json);
}

static void test_reads_only_the_given_length(void **state)
{
    const char text[] = "{\"a\":1}{";
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, 7, &json, NULL), 0);
    cJSON_Delete(json);
    expect_bad(text, 8, "data after the value at byte 7");
    expect_bad(text, 6, "invalid JSON");
    expect_bad("", 0, "invalid JSON");
    expect_bad("{\"a\":1}\0", 8, "data after");
}

/* cJSON would cut the string short there without a word. */
static void test_nul_in_a_string_is_refused(void **state)
{
    const char upper[] = "{\"data\":{\"a\":\"dummy\\u0000rest\"}}";
    cJSON *json;

    expect_bad(upper, strlen(upper), "NUL");
    expect_bad("[\"\\\\\\u0000\"]", 12, "NUL");
    json = parse("[\"\\\\u0000\", \"\\u0001\", \"\\u00e4\"]"); /* an escaped backslash, others */
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(json, 0)), "\\u0000");
    cJSON_Delete(json);
}

static void expect_nul(const char *text, const char *value, size_t len)
{
    cJSON *json = NULL;
    const char *string;
    uint8_t bytes[64];

    assert_int_equal(json_parse_with_nul(text, strlen(text), &json, NULL), 0);
    string = cJSON_GetStringValue(cJSON_GetArrayItem(json, 0));
    assert_int_equal(json_text_has_nul(string), memchr(value, '\0', len) != NULL);
    assert_int_equal(json_decode_text(string, strlen(string), bytes), len);
    assert_memory_equal(bytes, value, len);
    cJSON_Delete(json);
}

static void test_nul_is_kept_where_values_may_have_it(void **state)
{
    static const char raw[] = "a\0\0b\0";
    const char *end = NULL;
    char text[2 * sizeof(raw)];
    uint8_t bytes[sizeof(text)];
    cJSON *json = NULL;

    expect_nul("[\"a\\u0000b\"]", "a\0b", 3);
    expect_nul("[\"\\u0000\\u0000\"]", "\0\0", 2);
    expect_nul("[\"\\\\u0000\\\\\\u0000\\\"\"]", "\\u0000\\\0\"", 9);
    expect_nul("[\"plain\", \"\\u0000\"]", "plain", 5);
    assert_int_equal(json_parse_with_nul("[\"\xc0\x80\"]", 6, &json, NULL), -EINVAL);
    assert_int_equal(json_parse_with_nul("[\"\\u0000\"", 9, &json, NULL), -EINVAL);
    assert_null(json);

    json_encode_text(raw, sizeof(raw) - 1, text);
    assert_int_equal(json_decode_text(text, strlen(text), bytes), sizeof(raw) - 1);
    assert_memory_equal(bytes, raw, sizeof(raw) - 1);

    assert_int_equal(json_parse_prefix("[\"\\u0000\"]{}", 12, true, &json, &end, NULL), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(json, 0)), JSON_NUL);
    assert_string_equal(end, "{}");
    cJSON_Delete(json);
    json = NULL;
    assert_int_equal(json_parse_prefix("[\"\\u0000\"]{}", 12, false, &json, &end, NULL), -EINVAL);
    assert_null(json);
}

static void test_control_characters_have_to_be_escaped(void **state)
{
    cJSON *json;

    expect_bad("[\"a\nb\"]", 7, "at byte 3");
    expect_bad("[\"a\tb\"]", 7, "at byte 3");
    json = parse("[\n\t\"a\\nb\"\n]");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(json, 0)), "a\nb");
    cJSON_Delete(json);
}

/* @head, @n times @item, and @tail. Return: the caller's. */
static char *repeat(const char *head, const char *item, size_t n, const char *tail)
{
    char *text = malloc(strlen(head) + n * strlen(item) + strlen(tail) + 1), *at = text;

    assert_non_null(text);
    at = stpcpy(at, head);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, item);
    stpcpy(at, tail);
    return text;
}

static void expect_values(char *text, int result)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;
    const char *end;

    assert_int_equal(json_parse(text, strlen(text), &json, &e), result);
    assert_true((json != NULL) == (result == 0));
    if (result != 0)
        assert_string_equal(e.text, "it has more than 400000 values");
    cJSON_Delete(json);
    json = NULL;
    assert_int_equal(json_parse_with_nul(text, strlen(text), &json, NULL), result);
    cJSON_Delete(json);
    json = NULL;
    assert_int_equal(json_parse_prefix(text, strlen(text), true, &json, &end, NULL), result);
    cJSON_Delete(json);
    free(text);
}

static void test_values_are_limited(void **state)
{
    cJSON *json = NULL;
    const char *end;
    char *text;

    expect_values(repeat("[", "{},", JSON_MAX_VALUES - 2, "{}]"), 0);
    expect_values(repeat("[", "{},", JSON_MAX_VALUES - 1, "{}]"), -E2BIG);
    expect_values(repeat("\xef\xbb\xbf[", "{},", JSON_MAX_VALUES - 1, "{}]"), -E2BIG);
    expect_values(repeat("{\"a,[\\\"\":[ \n", "1 , ", JSON_MAX_VALUES - 3, "\"],,\"]}"), 0);
    expect_values(repeat("{\"a,[\\\"\":[ \n", "1 , ", JSON_MAX_VALUES - 2, "\"],,\"]}"), -E2BIG);
    text = repeat("[1]", "[]", JSON_MAX_VALUES + 1, "");
    assert_int_equal(json_parse_prefix(text, strlen(text), true, &json, &end, NULL), 0);
    assert_ptr_equal(end, text + 3); /* what follows the first value does not count */
    cJSON_Delete(json);
    free(text);
}

static size_t n_allocated;

static void *count_malloc(size_t size)
{
    n_allocated += size;
    return malloc(size);
}

/* An API server, or what answers in its place, sends up to 16 MiB. */
static void test_a_long_list_of_nothing_costs_no_memory(void **state)
{
    cJSON_Hooks hooks = {count_malloc, free};

    n_allocated = 0;
    cJSON_InitHooks(&hooks);
    expect_values(repeat("{\"items\":[", "{},", (16u << 20) / 3, "{}]}"), -E2BIG);
    cJSON_InitHooks(NULL);
    assert_int_equal(n_allocated, 0);
}

static void test_prints_without_tags(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(1000), small = BUF_INIT(20);
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject(), *again = NULL;
    static const char name[] = "<script>alert('&')</script>\"\\";

    assert_int_equal(json_add_text(json, "name", name), 0);
    assert_int_equal(json_print_without_tags(json, &text), 0);
    assert_null(strpbrk(buf_text(&text), "<>&"));
    assert_non_null(strstr(buf_text(&text), "\\u003cscript\\u003ealert('\\u0026')"));
    assert_int_equal(json_parse(buf_text(&text), text.len, &again, NULL), 0);
    assert_string_equal(json_text(again, "name"), name);
    assert_int_equal(json_print_without_tags(json, &small), -EFBIG);
}

static int try_parse(void *userdata)
{
    cJSON *json = NULL;
    int r = json_parse(userdata, strlen(userdata), &json, NULL);

    cJSON_Delete(json);
    return r;
}

static void test_allocation_failures_are_reported(void **state)
{
    char text[] = "{\"a\":[\"b\",1,{\"c\":null}]}";

    failmalloc_try(try_parse, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_members),
        cmocka_unit_test(test_adds_members),
        cmocka_unit_test(test_reads_only_the_given_length),
        cmocka_unit_test(test_nul_in_a_string_is_refused),
        cmocka_unit_test(test_nul_is_kept_where_values_may_have_it),
        cmocka_unit_test(test_control_characters_have_to_be_escaped),
        cmocka_unit_test(test_values_are_limited),
        cmocka_unit_test(test_a_long_list_of_nothing_costs_no_memory),
        cmocka_unit_test(test_prints_without_tags),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
