/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/authorization.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_values(void **state)
{
    _cleanup_(freep) char *bearer = NULL, *basic = NULL;
    char *none = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(authorization_bearer("\n dummy-token \r\n", &bearer, &e), 0);
    assert_string_equal(bearer, "Bearer dummy-token");
    assert_int_equal(authorization_bearer(" \n", &none, &e), -EINVAL);
    assert_string_equal(e.text, "the token is empty");
    assert_int_equal(authorization_bearer("dummy\r\nX-Injected: 1", &none, &e), -EINVAL);
    assert_null(strstr(e.text, "dummy"));
    assert_int_equal(authorization_bearer("d\xc3\xbcmmy", &none, &e), -EINVAL);
    assert_null(none);
    assert_int_equal(authorization_basic("user", "dummy:pass", &basic, &e), 0);
    assert_string_equal(basic, "Basic dXNlcjpkdW1teTpwYXNz");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
