/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "monitor/health.h"

static void assert_answer(const struct health_check *checks, size_t n, bool is_verbose,
                          unsigned status, const char *body)
{
    struct http_server_answer answer = {.body = BUF_INIT(HTTP_SERVER_BODY_MAX)};

    assert_int_equal(health_answer("readyz", checks, n, is_verbose, &answer), 0);
    assert_int_equal(answer.status, status);
    assert_string_equal(buf_text(&answer.body), body);
    buf_deinit(&answer.body);
}

static void test_answers(void **state)
{
    struct health_check checks[] = {{.name = "mount"}, {.name = "registered"}};

    assert_answer(checks, 2, false, 200, "ok");
    assert_answer(checks, 2, true, 200, "[+]mount ok\n[+]registered ok\nreadyz check passed\n");
    assert_answer(NULL, 0, false, 200, "ok");
    error_set(&checks[1].problem, -EAGAIN, "the kubelet has not asked yet");
    for (int is_verbose = 0; is_verbose <= 1; is_verbose++)
        assert_answer(checks, 2, is_verbose != 0, 503,
                      "[+]mount ok\n[-]registered failed: the kubelet has not asked yet\n"
                      "readyz check failed\n");
}

static void assert_parsed(const struct health_check *checks, bool is_readiness, int outcome,
                          const char *text)
{
    cJSON *document = health_document(checks, 2, 3);
    struct error e = ERROR_INIT;

    assert_int_equal(health_parse(document, is_readiness, &e), outcome);
    assert_string_equal(e.text, text);
    cJSON_Delete(document);
}

static void test_documents(void **state)
{
    struct health_check checks[] = {{.name = "mount"}, {.name = "threads"}, {.name = "source"}};
    struct error e = ERROR_INIT;
    cJSON *other = cJSON_CreateObject();

    assert_parsed(checks, false, HEALTH_PASSED, "");
    error_set(&checks[2].problem, -EAGAIN, "no API server has answered yet");
    assert_parsed(checks, false, HEALTH_PASSED, "");
    assert_parsed(checks, true, HEALTH_FAILED, "source: no API server has answered yet");
    checks[1].is_pending = true;
    assert_parsed(checks, false, HEALTH_PENDING, "threads: no response yet");
    assert_parsed(checks, true, HEALTH_FAILED, "source: no API server has answered yet");
    error_set(&checks[0].problem, -EIO, "the connection was aborted");
    assert_parsed(checks, false, HEALTH_FAILED, "mount: the connection was aborted");
    assert_int_equal(health_parse(other, false, &e), -EINVAL);
    cJSON_Delete(other);
}

static void test_no_room(void **state)
{
    struct http_server_answer answer = {.body = BUF_INIT(10)};
    const struct health_check check = {.name = "mount"};

    assert_int_equal(health_answer("readyz", &check, 1, true, &answer), -EFBIG);
    buf_deinit(&answer.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
