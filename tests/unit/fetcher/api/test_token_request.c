/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/token_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "encoding/json.h"
#include "tests/unit/failmalloc.h"

static const struct object_key key = {OBJECT_SERVICE_ACCOUNT_TOKEN, "prod", "web",
                                      "u-1\nweb-0\n7200\nhttps://vault\nx"};

static void test_key(void **state)
{
    static const struct object_key bad = {OBJECT_SERVICE_ACCOUNT_TOKEN, "prod", "web", "u-1\nweb"};
    struct token_request request;
    char *buf = NULL;

    assert_int_equal(token_request_from_key(&key, &request, &buf), 0);
    assert_string_equal(request.service_account, "web");
    assert_string_equal(request.pod_uid, "u-1");
    assert_string_equal(request.pod, "web-0");
    assert_int_equal(request.expiration_s, 7200);
    assert_string_equal(request.audience, "https://vault\nx");
    free(buf);
    assert_int_equal(token_request_from_key(&bad, &request, &buf), -EINVAL);
    free(buf);
}

/* Y8 */
static void test_request(void **state)
{
    struct token_request request = {.namespace = "prod",
                                    .service_account = "web",
                                    .pod = "web-0",
                                    .pod_uid = "u-1",
                                    .audience = "",
                                    .expiration_s = 3600};
    struct buf path = BUF_INIT(256);
    char *body = token_request_body(&request);

    assert_int_equal(token_request_add_path(&request, &path), 0);
    assert_string_equal(buf_text(&path), "/api/v1/namespaces/prod/serviceaccounts/web/token");
    assert_string_equal(body,
                        "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\","
                        "\"spec\":{\"audiences\":[],\"expirationSeconds\":3600,"
                        "\"boundObjectRef\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":"
                        "\"web-0\",\"uid\":\"u-1\"}}}");
    cJSON_free(body);
    request.audience = "a \"b\"";
    body = token_request_body(&request);
    assert_non_null(strstr(body, "\"audiences\":[\"a \\\"b\\\"\"]"));
    cJSON_free(body);
    buf_deinit(&path);
}

#define RESPONSE(spec, status) "{\"spec\":{" spec "},\"status\":{" status "}}"
#define STATUS                 "\"token\":\"dummy-1\",\"expirationTimestamp\":\"2026-01-02T03:04:05Z\""

static void test_response(void **state)
{
    static const char text[] = RESPONSE("\"expirationSeconds\":3607", STATUS);
    struct issued_token token;
    const struct object_entry *entry;
    struct error e = ERROR_INIT;

    assert_int_equal(token_request_parse(&key, text, strlen(text), &token, &e), 0);
    entry = object_find(token.object, TOKEN_KEY);
    assert_int_equal(entry->len, 7);
    assert_memory_equal(entry->bytes, "dummy-1", 7);
    assert_int_equal(object_key_compare(&token.object->key, &key), 0);
    assert_int_equal(token.expires_at.tv_sec, 1767323045);
    assert_int_equal(token.lifetime, SPAN_SEC(3607));
    object_unref(token.object);
}

static void test_invalid_responses(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        RESPONSE("", "\"token\":\"dummy-1\""),
        RESPONSE("", "\"token\":\"\""),
        RESPONSE("", "\"token\":\"a\",\"expirationTimestamp\":\"soon\""),
        RESPONSE("", "\"token\":7,\"expirationTimestamp\":\"2026-01-02T03:04:05Z\"")};

    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        struct issued_token token;
        struct error e = ERROR_INIT;

        if (token_request_parse(&key, bad[i], strlen(bad[i]), &token, &e) != -EINVAL)
            fail_msg("not refused: %s", bad[i]);
        assert_null(strstr(e.text, "dummy-1"));
    }
}

/* Seconds until the renewal of a token that expires @left seconds from now. */
static unsigned long delay(unsigned long lifetime_s, long left_s, uint64_t random)
{
    const struct timespec now = {.tv_sec = 1700000000};
    const struct issued_token token = {.expires_at = {.tv_sec = now.tv_sec + left_s},
                                       .lifetime = SPAN_SEC(lifetime_s)};

    return token_renewal_delay(&token, now, random) / SPAN_SEC(1);
}

/* Y11: 80 % or 24 h, 0 to 9 s earlier. */
static void test_renewal(void **state)
{
    assert_int_equal(delay(600, 600, 0), 480);
    assert_int_equal(delay(600, 600, 9), 471);
    assert_int_equal(delay(600, 600, 19), 471);
    assert_int_equal(delay(3600, 3600, 0), 2880);
    assert_int_equal(delay(3600, 3000, 0), 2280);
    assert_int_equal(delay(604800, 604800, 0), 86400);
    assert_int_equal(delay(3607, 3607, 0), 2885); /* Y9 */
}

/* A clock that is ahead does not make a request after the other. */
static void test_wrong_clock(void **state)
{
    assert_int_equal(delay(600, 0, 0), 60);
    assert_int_equal(delay(600, -100000, 9), 60);
    assert_int_equal(delay(3600, 720, 0), 360);
}

static int attempt(void *userdata)
{
    static const char text[] = RESPONSE("\"expirationSeconds\":3607", STATUS);
    struct issued_token token = {.object = NULL};
    struct error e = ERROR_INIT;
    int r = token_request_parse(&key, text, strlen(text), &token, &e);

    object_unref(token.object);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(attempt, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key),       cmocka_unit_test(test_request),
        cmocka_unit_test(test_response),  cmocka_unit_test(test_invalid_responses),
        cmocka_unit_test(test_renewal),   cmocka_unit_test(test_wrong_clock),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
