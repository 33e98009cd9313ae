/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "encoding/json.h"

static void test_escapes(void **state)
{
    struct buf b = BUF_INIT(64);

    assert_int_equal(protocol_add_escaped(&b, "a-b.c_d~1/ =&%"), 0);
    assert_string_equal(buf_text(&b), "a-b.c_d~1%2F%20%3D%26%25");
    assert_int_equal(protocol_add_escaped(&b, "////////////////////"), -EFBIG);
    buf_deinit(&b);
}

static void test_order_of_versions(void **state)
{
    assert_true(protocol_is_older("9", "10"));
    assert_true(protocol_is_older("0009", "10"));
    assert_true(protocol_is_older("18446744073709551616", "18446744073709551617"));
    assert_false(protocol_is_older("10", "10"));
    assert_false(protocol_is_older("11", "10"));
    assert_false(protocol_is_older("", "10"));
    assert_false(protocol_is_older("9", "x"));
}

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    return json;
}

static void test_members(void **state)
{
    cJSON *json = parse("{\"metadata\":{\"resourceVersion\":\"7\"},\"code\":410}");
    cJSON *odd = parse("{\"metadata\":[],\"code\":\"410\"}");

    assert_string_equal(protocol_resource_version(json), "7");
    assert_string_equal(protocol_resource_version(odd), "");
    assert_string_equal(protocol_resource_version(NULL), "");
    assert_int_equal(protocol_status_code(json), 410);
    assert_int_equal(protocol_status_code(odd), 0);
    cJSON_Delete(json);
    cJSON_Delete(odd);
}

static void test_refusals(void **state)
{
    struct error e = ERROR_INIT;
    cJSON *json = parse("{\"code\":410,\"message\":\"too old\"}");

    protocol_explain_refusal(403, "no way", ": allow it", &e);
    assert_string_equal(e.text, "the API server answered 403 (Forbidden): no way: allow it");
    protocol_explain_refusal(503, NULL, ": allow it", &e);
    assert_string_equal(e.text, "the API server answered 503 (Service Unavailable)");
    protocol_explain_refusal(299, NULL, ": allow it", &e);
    assert_string_equal(e.text, "the API server answered 299 (an unexpected answer)");
    protocol_explain_end(json, &e);
    assert_string_equal(e.text, "the API server ended the watch with 410: too old");
    protocol_explain_end(NULL, &e);
    assert_string_equal(e.text, "the API server ended the watch with 0: no reason given");
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_order_of_versions),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
