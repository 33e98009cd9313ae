/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/status/filter.h"

#define POD                                                                                        \
    "{\"mountpoint\":\"/pod\",\"pod\":\"prod/web-0\",\"object\":{\"kind\":\"Secret\","             \
    "\"namespace\":\"prod\",\"name\":\"db\"},\"labels\":{\"app\":\"web\",\"canary\":\"\"}}"
#define PROJECTED                                                                                  \
    "{\"mountpoint\":\"/all\",\"objects\":[{\"kind\":\"ConfigMap\",\"namespace\":\"test\","        \
    "\"name\":\"db\"},{\"kind\":\"Secret\",\"namespace\":\"test\",\"name\":\"tls\"}]}"
#define DEAD "{\"mountpoint\":\"/dead\",\"volume\":{\"state\":\"dead\"}}"

static cJSON *parse(const char *text)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, strlen(text), &json, &e), 0);
    return json;
}

static void test_what_matches(void **state)
{
    static const struct {
        struct status_filter filter;
        bool pod, projected, dead;
    } cases[] = {
        {{0}, true, true, true},
        {{.namespace = "prod"}, true, false, false},
        {{.namespace = "pro"}, false, false, false},
        {{.namespace = "prod/web-0"}, false, false, false},
        {{.namespace = "test"}, false, true, false},
        {{.pod = "web-0"}, true, false, false},
        {{.pod = "prod/web-0"}, true, false, false},
        {{.pod = "test/web-0"}, false, false, false},
        {{.pod = "web"}, false, false, false},
        {{.pod = "web-0", .namespace = "test"}, false, false, false},
        {{.object = "db"}, true, true, false},
        {{.object = "d"}, false, false, false},
        {{.object = "secret/db"}, true, false, false},
        {{.object = "SECRET/tls"}, false, true, false},
        {{.object = "configmap/db"}, false, true, false},
        {{.object = "cm/db"}, false, true, false},
        {{.object = "secret/prod/db"}, true, false, false},
        {{.object = "secret/test/db"}, false, false, false},
        {{.selector = "app=web,canary"}, true, false, false},
        {{.selector = "app=db"}, false, false, false},
        {{.selector = "!legacy"}, true, false, false}, /* without labels nothing is known */
    };
    cJSON *pod = parse(POD), *projected = parse(PROJECTED), *dead = parse(DEAD);

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        assert_int_equal(status_filter_check(&cases[i].filter, NULL), 0);
        assert_int_equal(status_filter_matches(&cases[i].filter, pod), cases[i].pod);
        assert_int_equal(status_filter_matches(&cases[i].filter, projected), cases[i].projected);
        assert_int_equal(status_filter_matches(&cases[i].filter, dead), cases[i].dead);
        assert_int_equal(status_filter_is_set(&cases[i].filter), i > 0);
    }
    cJSON_Delete(pod);
    cJSON_Delete(projected);
    cJSON_Delete(dead);
}

static void test_invalid_patterns(void **state)
{
    static const struct status_filter cases[] = {
        {.pod = ""},     {.pod = "/a"},      {.pod = "a/"},         {.pod = "a/b/c"},
        {.object = ""},  {.object = "a/"},   {.object = "/a"},      {.object = "a//b"},
        {.object = "/"}, {.object = "a/b/"}, {.object = "a/b/c/d"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;

        assert_int_equal(status_filter_check(&cases[i], &e), -EINVAL);
        assert_non_null(strstr(e.text, "expected NAME"));
    }
}

static void test_items_are_removed(void **state)
{
    cJSON *list = parse("{\"items\":[" DEAD "," POD "," PROJECTED "," DEAD "]}");
    const cJSON *items = json_member(list, "items");

    status_filter_apply(&(struct status_filter){.namespace = "prod"}, list);
    assert_int_equal(cJSON_GetArraySize(items), 1);
    assert_string_equal(json_text(items->child, "mountpoint"), "/pod");
    status_filter_apply(&(struct status_filter){.namespace = "none"}, list);
    assert_int_equal(cJSON_GetArraySize(items), 0);
    cJSON_Delete(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_matches),
        cmocka_unit_test(test_invalid_patterns),
        cmocka_unit_test(test_items_are_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
