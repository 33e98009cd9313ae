/* SPDX-License-Identifier: Apache-2.0 */
/* Which audit is printed on a host with several daemons. */
#include "cmd/audit/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define MOUNT(target)   "{\"process\": \"mount\", \"audit\": \"" target "\"}"
#define SILENT(process) "{\"process\": \"" process "\"}"
#define NODE            "{\"process\": \"node\", \"audit\": \"/node\"}"

static void test_choices(void **state)
{
    static const struct {
        const char *processes;
        int result;
        const char *target;
    } cases[] = {
        {"", -ENOENT, NULL},
        {SILENT("node") ", " SILENT("mount"), -ENOENT, NULL},
        {SILENT("node") ", " MOUNT("/a"), 0, "/a"},
        {MOUNT("/a") ", " MOUNT("/a"), 0, "/a"},
        {MOUNT("/a") ", " MOUNT("/b"), -EINVAL, NULL},
        {MOUNT("/a") ", " NODE, 0, "/node"},
        {NODE ", " MOUNT("/a") ", " MOUNT("/b"), 0, "/node"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(cJSON_Deletep) cJSON *list = cJSON_CreateObject();
        struct error e = ERROR_INIT;
        const char *target = NULL;
        char text[512];

        snprintf(text, sizeof(text), "[%s]", cases[i].processes);
        cJSON_AddItemToObject(list, "processes", cJSON_Parse(text));
        assert_int_equal(audit_choose(list, &target, &e), cases[i].result);
        if (cases[i].target != NULL)
            assert_string_equal(target, cases[i].target);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
