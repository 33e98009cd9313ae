/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/server_version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"

/* J14: on by default from 1.34 on. */
static void test_versions(void **state)
{
    static const struct {
        const char *text;
        bool streams;
    } cases[] = {
        {"{\"major\":\"1\",\"minor\":\"34\"}", true},
        {"{\"major\":\"1\",\"minor\":\"37\",\"gitVersion\":\"v1.37.2\"}", true},
        {"{\"major\":\"1\",\"minor\":\"34+\"}", true},
        {"{\"major\":\"1\",\"minor\":\"100\"}", true},
        {"{\"major\":\"1\",\"minor\":\"33\"}", false},
        {"{\"major\":\"1\",\"minor\":\"33+\"}", false},
        {"{\"major\":\"1\",\"minor\":\"20\"}", false},
        {"{\"major\":\"2\",\"minor\":\"34\"}", false},
        {"{\"major\":\"1\",\"minor\":\"-1\"}", false},
        {"{\"major\":\"1\",\"minor\":\"\"}", false},
        {"{\"major\":1,\"minor\":34}", false},
        {"{\"kind\":\"Status\"}", false},
        {"[]", false},
        {"<html>", false},
        {"", false},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        assert_int_equal(server_version_streams_lists(cases[i].text, strlen(cases[i].text)),
                         cases[i].streams);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_versions)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
