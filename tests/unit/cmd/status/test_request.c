/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/buf.h"
#include "cmd/status/request.h"

#include "tests/unit/failmalloc.h"

#define DOCUMENT                                                                                   \
    "{\"process\":\"node\",\"pid\":7,\"version\":\"1\",\"since\":\"now\",\"requests\":{}}\n"       \
    "{\"mountpoint\":\"/b\",\"version\":\"own\"}\n"                                                \
    "{\"mountpoint\":\"/a\"}\n\n"
#define OTHER_DOCUMENT                                                                             \
    "{\"process\":\"node\",\"pid\":7,\"since\":\"later\"}\n{\"mountpoint\":\"/c\"}\n"              \
    "{\"mountpoint\":\"/d\"}\n\n"

static void test_a_document_is_taken_apart(void **state)
{
    cJSON *list = cJSON_CreateObject();
    struct error e = ERROR_INIT;
    const cJSON *items;

    assert_int_equal(status_parse(DOCUMENT, list, &e), 0);
    assert_int_equal(status_parse(OTHER_DOCUMENT, list, &e), 0);
    /* a process that is in the list is not added again */
    assert_int_equal(status_parse(DOCUMENT, list, &e), 0);
    assert_int_equal(cJSON_GetArraySize(json_member(list, "processes")), 2);
    items = json_member(list, "items");
    assert_int_equal(cJSON_GetArraySize(items), 4);
    /* an entry names its process, and leaves out the process's own details */
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 0), "version"), "own");
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 1), "version"), "1");
    assert_string_equal(json_text(cJSON_GetArrayItem(items, 1), "process"), "node");
    assert_null(json_member(cJSON_GetArrayItem(items, 1), "requests"));
    cJSON_Delete(list);
}

static void test_what_is_no_document(void **state)
{
    static const char *const documents[] = {"{\"process\":", "{} {}", "x", "[1\n]"};

    for (size_t i = 0; i < ELEMENTS_OF(documents); i++) {
        cJSON *list = cJSON_CreateObject();
        struct error e = ERROR_INIT;

        assert_int_equal(status_parse(documents[i], list, &e), -EINVAL);
        assert_non_null(strstr(e.text, "invalid status document"));
        cJSON_Delete(list);
    }
}

static void test_limit(void **state)
{
    struct buf document = BUF_INIT(1u << 20);
    cJSON *list = cJSON_CreateObject();
    struct error e = ERROR_INIT;

    for (unsigned i = 0; i < STATUS_VOLUMES_MAX; i++)
        assert_int_equal(buf_addf(&document, "{\"mountpoint\":\"/%u\"}\n", i), 0);
    assert_int_equal(status_parse(buf_text(&document), list, &e), 0);
    assert_int_equal(status_parse("{\"mountpoint\":\"/more\"}\n", list, &e), -E2BIG);
    assert_non_null(strstr(e.text, "more than 10000 volumes"));
    cJSON_Delete(list);
    buf_deinit(&document);
}

static int try_parsing(void *userdata)
{
    cJSON *list = cJSON_CreateObject();
    struct error e = ERROR_INIT;
    int r = list != NULL ? status_parse(DOCUMENT, list, &e) : -ENOMEM;

    cJSON_Delete(list);
    return r;
}

static void test_without_memory(void **state)
{
    failmalloc_try(try_parsing, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_document_is_taken_apart),
        cmocka_unit_test(test_what_is_no_document),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
