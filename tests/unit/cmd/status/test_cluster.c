/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/status/cluster.h"

#include "tests/unit/failmalloc.h"

#define DOCUMENT                                                                                   \
    "{\"processes\":[{\"pid\":1}],\"items\":[{\"mountpoint\":\"/a\"},"                             \
    "{\"mountpoint\":\"/b\"}],\"errors\":[\"too many mounts\"]}"

static cJSON *new_list(void)
{
    cJSON *list = cJSON_CreateObject();

    assert_non_null(cJSON_AddArrayToObject(list, "processes"));
    assert_non_null(cJSON_AddArrayToObject(list, "items"));
    return list;
}

static int add(cJSON *list, const char *node, const char *document, struct error *e)
{
    return status_cluster_add(node, document, strlen(document), list, e);
}

static void test_volumes_have_their_node(void **state)
{
    struct error e = ERROR_INIT;
    cJSON *list = new_list();
    const cJSON *items = json_member(list, "items");

    assert_int_equal(add(list, "n1", DOCUMENT, &e), 0);
    assert_int_equal(add(list, "n2", DOCUMENT, &e), 0);
    assert_int_equal(cJSON_GetArraySize(items), 4);
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 1), "node"), "n1");
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 1), "mountpoint"), "/b");
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 2), "node"), "n2");
    assert_int_equal(cJSON_GetArraySize(json_member(list, "processes")), 2);
    assert_string_equal(cJSON_GetArrayItem(json_member(list, "errors"), 1)->valuestring,
                        "node n2: too many mounts");
    cJSON_Delete(list);
}

static void test_invalid_documents(void **state)
{
    static const struct {
        const char *document, *error;
    } cases[] = {
        {"{", "node n1: invalid status document: "},
        {"[]", "node n1: invalid status document: it has no items"},
        {"{\"items\":7}", "node n1: invalid status document: it has no items"},
    };
    cJSON *list = new_list();

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;

        assert_int_equal(add(list, "n1", cases[i].document, &e), -EINVAL);
        assert_non_null(str_after(e.text, cases[i].error));
    }
    assert_int_equal(cJSON_GetArraySize(json_member(list, "items")), 0);
    cJSON_Delete(list);
}

static int try_adding(void *userdata)
{
    cJSON *list = cJSON_CreateObject();
    struct error e = ERROR_INIT;
    int r = -ENOMEM;

    if (cJSON_AddArrayToObject(list, "processes") != NULL &&
        cJSON_AddArrayToObject(list, "items") != NULL)
        r = add(list, "n1", DOCUMENT, &e);
    cJSON_Delete(list);
    return r;
}

static void test_out_of_memory(void **state)
{
    failmalloc_try(try_adding, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes_have_their_node),
        cmocka_unit_test(test_invalid_documents),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
