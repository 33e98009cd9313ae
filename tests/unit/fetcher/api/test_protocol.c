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
    static const struct {
        int status;
        const char *body, *user, *text;
    } cases[] = {
        {403, "{\"message\":\"no way\"}", NULL, "403 (Forbidden): no way: allow it"},
        {503, "", NULL, "503 (Service Unavailable)"},
        {299, "x", NULL, "299 (an unexpected answer)"},
        {401, "", NULL, "401 (Unauthorized): check the credentials that are given to it"},
        {401, "", "user \"x\" in /f",
         "401 (Unauthorized): check the credentials of user \"x\" in /f"},
        {400, "{}", NULL, "400 (Bad Request)"},
        {400, "Client sent an HTTP request to an HTTPS server.\n", NULL,
         "400 (Bad Request): the port expects TLS: begin the server's URL with https://"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct buf body = BUF_INIT(1000);
        const struct protocol_refusal refusal = {
            .status = cases[i].status, .body = &body, .allow = ": allow it", .user = cases[i].user};
        struct error e = ERROR_INIT;

        assert_int_equal(buf_add_text(&body, cases[i].body), 0);
        protocol_explain_refusal(&refusal, &e);
        assert_string_equal(str_after(e.text, "the API server answered "), cases[i].text);
        buf_deinit(&body);
    }
}

static void test_ends(void **state)
{
    struct error e = ERROR_INIT;
    cJSON *json = parse("{\"code\":410,\"message\":\"too old\"}");

    protocol_explain_end(json, &e);
    assert_string_equal(e.text, "the API server ended the watch with 410: too old");
    protocol_explain_end(NULL, &e);
    assert_string_equal(e.text, "the API server ended the watch with 0: no reason given");
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_order_of_versions),
        cmocka_unit_test(test_members), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
