/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/name_table.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COLUMNS                                                                                    \
    "\"columnDefinitions\":[{\"name\":\"Type\",\"format\":\"\"},{\"name\":\"Name\","               \
    "\"format\":\"name\"}]"
#define TABLE(rows) "{\"kind\":\"Table\",\"metadata\":{}," COLUMNS ",\"rows\":" rows "}"

static void path_asks_for_no_objects(void **state)
{
    struct buf path = BUF_INIT(256);

    assert_int_equal(name_table_add_path(&path, OBJECT_CONFIGMAP, "prod"), 0);
    assert_string_equal(buf_text(&path),
                        "/api/v1/namespaces/prod/configmaps?includeObject=None&limit=500");
    buf_deinit(&path);
}

static void names_are_in_their_column(void **state)
{
    static const struct {
        const char *text;
        int result;
        const char *names;
    } cases[] = {
        {TABLE("[]"), 0, "none"},
        {TABLE("null"), 0, "none"},
        {TABLE("[{\"cells\":[\"Opaque\",\"web\"]},{\"cells\":[\"Opaque\",\"db\"]}]"), 0, "db, web"},
        /* what no API server sends: cells of other types, and names for a terminal to carry out */
        {TABLE("[{\"cells\":[\"Opaque\",7]},{\"cells\":[]},{}]"), 0, "none"},
        {TABLE("[{\"cells\":[\"Opaque\",\"\\u001b[2J\"]},{\"cells\":[\"\",\"a\\nb\"]}]"), 0,
         "none"},
        {"{\"kind\":\"Table\",\"metadata\":{\"continue\":\"c\"}," COLUMNS
         ",\"rows\":[{\"cells\":[\"\",\"db\"]}]}",
         0, "db and more"},
        /* a server that does not know Tables */
        {"{\"kind\":\"SecretList\",\"items\":[{\"metadata\":{\"name\":\"db\"}}]}", -EINVAL, "none"},
        {"[]", -EINVAL, "none"},
        {"{", -EINVAL, "none"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct name_list list = NAME_LIST_INIT("d");
        struct error text;

        if (name_table_parse(cases[i].text, strlen(cases[i].text), name_list_offer, &list,
                             &list.is_part) != cases[i].result)
            fail_msg("%s", cases[i].text);
        name_list_print(&list, &text);
        assert_string_equal(text.text, cases[i].names);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_asks_for_no_objects),
        cmocka_unit_test(names_are_in_their_column),
    };

    return cmocka_run_group_tests_name("name_table", tests, NULL, NULL);
}
