/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/initial_list.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "encoding/json.h"
#include "tests/unit/failmalloc.h"

static cJSON *parse(const char *text)
{
    cJSON *json = cJSON_Parse(text);

    assert_non_null(json);
    return json;
}

static void test_end(void **state)
{
    static const struct {
        const char *bookmark;
        bool is_end;
    } cases[] = {
        {"{\"metadata\":{\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}", true},
        {"{\"metadata\":{\"annotations\":{\"k8s.io/initial-events-end\":\"false\"}}}", false},
        {"{\"metadata\":{\"annotations\":{\"k8s.io/initial-events-end\":true}}}", false},
        {"{\"metadata\":{\"annotations\":{\"other\":\"true\"}}}", false},
        {"{\"metadata\":{\"annotations\":null}}", false},
        {"{\"metadata\":{}}", false},
        {"{}", false},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(cJSON_Deletep) cJSON *bookmark = parse(cases[i].bookmark);

        assert_int_equal(initial_list_is_end(bookmark), cases[i].is_end);
    }
}

static int add(struct initial_list *list, const char *event, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *json = parse(event);

    return initial_list_add(list, json, len, 100);
}

static int take(struct initial_list *list, cJSON **ret_list)
{
    _cleanup_(cJSON_Deletep) cJSON *event =
        parse("{\"object\":{\"metadata\":{\"resourceVersion\":\"5\"}}}");

    return initial_list_take(list, event, ret_list);
}

static void expect_taken(struct initial_list *list, const char *text)
{
    _cleanup_(cJSON_Deletep) cJSON *taken = NULL;
    char *printed;

    assert_int_equal(take(list, &taken), 0);
    printed = cJSON_PrintUnformatted(taken);
    assert_string_equal(printed, text);
    cJSON_free(printed);
}

static void test_objects_become_a_list(void **state)
{
    struct initial_list list = {0};

    expect_taken(&list, "{\"items\":[],\"metadata\":{\"resourceVersion\":\"5\"}}");
    assert_int_equal(add(&list, "{\"object\":{\"a\":1}}", 20), 0);
    assert_int_equal(add(&list, "{\"object\":{\"b\":2}}", 80), 0);
    expect_taken(&list, "{\"items\":[{\"a\":1},{\"b\":2}],"
                        "\"metadata\":{\"resourceVersion\":\"5\"}}");
    assert_int_equal(add(&list, "{\"object\":{\"c\":3}}", 100), 0); /* counted from nothing */
    initial_list_deinit(&list);
}

static void test_bytes_are_limited(void **state)
{
    struct initial_list list = {0};

    assert_int_equal(add(&list, "{\"object\":{}}", 101), -EFBIG);
    assert_int_equal(add(&list, "{\"object\":{}}", 60), 0);
    assert_int_equal(add(&list, "{\"object\":{}}", 41), -EFBIG);
    assert_int_equal(add(&list, "{\"object\":{}}", 40), 0);
    assert_int_equal(add(&list, "{\"object\":{}}", SIZE_MAX), -EFBIG);
    initial_list_deinit(&list);
}

static int collect(void *userdata)
{
    struct initial_list list = {0};
    cJSON *event = userdata, *taken = NULL, *copy = cJSON_Duplicate(event, true);
    int r = copy != NULL ? initial_list_add(&list, copy, 10, 100) : -ENOMEM;

    cJSON_Delete(copy);
    copy = cJSON_Duplicate(event, true);
    if (r == 0)
        r = copy != NULL ? initial_list_take(&list, copy, &taken) : -ENOMEM;
    cJSON_Delete(copy);
    cJSON_Delete(taken);
    initial_list_deinit(&list);
    return r;
}

static void test_no_memory(void **state)
{
    _cleanup_(cJSON_Deletep) cJSON *event = parse("{\"object\":{\"metadata\":{}}}");

    failmalloc_try(collect, event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_objects_become_a_list),
        cmocka_unit_test(test_bytes_are_limited),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
