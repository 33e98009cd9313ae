/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/update_action.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"

static void test_valid(void **state)
{
    struct update_action action;

    assert_int_equal(update_action_parse("reload-unit:app@1.service", &action, NULL), 0);
    assert_string_equal(action.unit, "app@1.service");
    assert_null(action.command);
    assert_int_equal(update_action_parse("exec:reload", &action, NULL), 0);
    assert_null(action.unit);
    assert_string_equal(action.command, "reload");
}

static void test_invalid(void **state)
{
    static const char *const texts[] = {
        "",
        "signal:HUP",
        "reload-unit:",
        "reload-unit:a",
        "exec:",
        "exec:/bin/sh",
        "reload-unit:.service",
        "reload-unit:a.socket",
        "exec:-c",
        "app.service",
        "reload-unit:a/b.service",
        "reload-unit:a b.service",
    };
    struct update_action action;
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        assert_int_equal(update_action_parse(texts[i], &action, &e), -EINVAL);
        assert_non_null(strstr(e.text, "use reload-unit:NAME.service, or exec:NAME"));
    }
}

static void test_misspelled(void **state)
{
    struct update_action action;
    struct error e;

    assert_int_equal(update_action_parse("relaod-unit:app.service", &action, &e), -EINVAL);
    assert_non_null(strstr(e.text, "; did you mean \"reload-unit:\"?"));
    assert_int_equal(update_action_parse("exce:reload", &action, &e), -EINVAL);
    assert_non_null(strstr(e.text, "; did you mean \"exec:\"?"));
    assert_int_equal(update_action_parse("exec:/bin/sh", &action, &e), -EINVAL);
    assert_null(strstr(e.text, "did you mean"));
}

/* systemd's limit. */
static void test_long_names(void **state)
{
    char text[512] = "reload-unit:";
    struct update_action action;
    size_t prefix = strlen(text);

    memset(text + prefix, 'a', 255 - strlen(".service"));
    memcpy(text + prefix + 255 - strlen(".service"), ".service", sizeof(".service"));
    assert_int_equal(update_action_parse(text, &action, NULL), 0);
    memset(text + prefix, 'a', 256 - strlen(".service"));
    memcpy(text + prefix + 256 - strlen(".service"), ".service", sizeof(".service"));
    assert_int_equal(update_action_parse(text, &action, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_misspelled),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
