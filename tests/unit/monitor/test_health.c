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
        cmocka_unit_test(test_no_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
