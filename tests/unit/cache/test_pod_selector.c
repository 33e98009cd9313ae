/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/pod_selector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"

/* Of one pod. */
#define LABELS                                                                                     \
    "app\0web\0"                                                                                   \
    "tier\0a\0"                                                                                    \
    "empty\0\0"                                                                                    \
    "in\0x\0"                                                                                      \
    "app.kubernetes.io/name\0shop\0"

static void test_matches(void **state)
{
    static const struct {
        const char *selector;
        bool matches;
    } cases[] = {
        {"app", true},
        {"ap", false},
        {"apps", false},
        {"web", false}, /* a value is no key */
        {"!app", false},
        {"!canary", true},
        {" ! canary ", true},
        {"app=web", true},
        {"app==web", true},
        {" app = web ", true},
        {"app=we", false},
        {"app=webs", false},
        {"canary=true", false},
        {"app!=web", false},
        {"app!=api", true},
        {"canary!=true", true}, /* also without the label */
        {"empty", true},
        {"empty=", true},
        {"empty=,app", true},
        {"app=", false},
        {"app!=", true},
        {"tier in (a)", true},
        {"tier in (b,a)", true},
        {"tier in(b,\ta)", true},
        {"tier in (b, c)", false},
        {"canary in (a)", false},
        {"tier notin (b,c)", true},
        {"tier notin (a)", false},
        {"canary notin (true)", true},
        {"empty in ()", true},
        {"empty in (a,)", true},
        {"tier in (,)", false},
        {"in", true},
        {"in in (x)", true},
        {"!notin", true},
        {"app=in", false},
        {"app.kubernetes.io/name=shop", true},
        {"app.kubernetes.io/name", true},
        {"name=shop", false},
        {"app=web,tier in (a,b),!canary", true},
        {"app=web,tier in (a,b),canary", false},
        {"canary,app=web", false},
        {"app=web\r\n,tier=a", true},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;

        if (pod_selector_check(cases[i].selector, &e) < 0)
            fail_msg("%s: %s", cases[i].selector, e.text);
        if (pod_selector_matches(cases[i].selector, LABELS) != cases[i].matches)
            fail_msg("%s", cases[i].selector);
    }
}

static void test_pod_without_labels(void **state)
{
    assert_false(pod_selector_matches("app", ""));
    assert_true(pod_selector_matches("!app,app!=web,app notin (web)", ""));
}

/* None is valid, and none matches. */
static void test_invalid_ones(void **state)
{
    static const struct {
        const char *selector, *reason;
    } cases[] = {
        {"", "it ends where a label's key is expected"},
        {" ", "it ends where a label's key is expected"},
        {",", "\",\" stands where a label's key is expected"},
        {"app,", "it ends where a label's key is expected"},
        {"app,,tier", "\",\" stands where a label's key is expected"},
        {"!", "it ends where a label's key is expected"},
        {"!!app", "\"!\" stands where a label's key is expected"},
        {"!=web", "\"!=\" stands where a label's key is expected"},
        {"=web", "\"=\" stands where a label's key is expected"},
        {"(app)", "\"(\" stands where a label's key is expected"},
        {"app web", "\"web\" stands where =, !=, in, notin or a comma is expected"},
        {"app=web tier", "\"tier\" stands where a comma is expected"},
        {"app===web", "\"=\" stands where a comma is expected"},
        {"app=!web", "\"!\" stands where a comma is expected"},
        {"!app=web", "\"=\" stands where a comma is expected"},
        {"app>1", "\">\" stands where =, !=, in, notin or a comma is expected"},
        {"app<1", "\"<\" stands where =, !=, in, notin or a comma is expected"},
        {"app IN (web)", "\"IN\" stands where =, !=, in, notin or a comma is expected"},
        {"app in", "it ends where ( of a list of values is expected"},
        {"app in web", "\"web\" stands where ( of a list of values is expected"},
        {"app in (web", "it ends where a comma or ) of a list of values is expected"},
        {"app in (web api)", "\"api\" stands where a comma or ) of a list of values is expected"},
        {"app in (=)", "\"=\" stands where a comma or ) of a list of values is expected"},
        {"app in (web))", "\")\" stands where a comma is expected"},
        {"app=-web", "\"-web\" stands where a label's value is expected"},
        {"app=web-", "\"web-\" stands where a label's value is expected"},
        {"app=a/b", "\"a/b\" stands where a label's value is expected"},
        {"app in (we$b)", "\"we$b\" stands where a label's value is expected"},
        {"10%", "\"10%\" stands where a label's key is expected"},
        {"-app", "\"-app\" stands where a label's key is expected"},
        {"/app", "\"/app\" stands where a label's key is expected"},
        {"example.org/", "\"example.org/\" stands where a label's key is expected"},
        {"Example.org/app", "\"Example.org/app\" stands where a label's key is expected"},
        {"a/b/c", "\"a/b/c\" stands where a label's key is expected"},
        {"\xc3\xa4pp", "\"\xc3\xa4pp\" stands where a label's key is expected"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;

        assert_int_equal(pod_selector_check(cases[i].selector, &e), -EINVAL);
        assert_string_equal(e.text, cases[i].reason);
        assert_false(pod_selector_matches(cases[i].selector, LABELS));
    }
}

/* A selector that is @n times @part, separated by commas, within @before and @after. */
static int check_repeated(const char *before, const char *part, unsigned n, const char *after,
                          struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(4096);

    assert_int_equal(buf_addf(&text, "%s%s", before, part), 0);
    for (unsigned i = 1; i < n; i++)
        assert_int_equal(buf_addf(&text, ",%s", part), 0);
    assert_int_equal(buf_addf(&text, "%s", after), 0);
    return pod_selector_check(buf_text(&text), e);
}

static void test_limits(void **state)
{
    char name[300], selector[700];
    struct error e = ERROR_INIT;

    assert_int_equal(check_repeated("", "a", POD_SELECTOR_MAX_REQUIREMENTS, "", &e), 0);
    assert_int_equal(check_repeated("", "a", POD_SELECTOR_MAX_REQUIREMENTS + 1, "", &e), -E2BIG);
    assert_string_equal(e.text, "it has more than 16 requirements");
    assert_int_equal(check_repeated("a in (", "a", POD_SELECTOR_MAX_VALUES, ")", &e), 0);
    assert_int_equal(check_repeated("a in (", "a", POD_SELECTOR_MAX_VALUES + 1, ")", &e), -E2BIG);
    assert_string_equal(e.text, "a requirement has more than 64 values");

    memset(name, 'a', sizeof(name));
    for (unsigned len = 63; len <= 64; len++) {
        snprintf(selector, sizeof(selector), "%.*s=%.*s", (int)len, name, (int)len, name);
        assert_int_equal(pod_selector_check(selector, NULL), len == 63 ? 0 : -EINVAL);
    }
    for (unsigned len = 253; len <= 254; len++) {
        snprintf(selector, sizeof(selector), "%.*s/a", (int)len, name);
        assert_int_equal(pod_selector_check(selector, NULL), len == 253 ? 0 : -EINVAL);
    }
    for (unsigned n_spaces = 1023; n_spaces <= 1024; n_spaces++) {
        _cleanup_(buf_deinit) struct buf text = BUF_INIT(4096);

        assert_int_equal(buf_addf(&text, "%*sa", (int)n_spaces, ""), 0);
        assert_int_equal(pod_selector_check(buf_text(&text), &e), n_spaces == 1023 ? 0 : -E2BIG);
    }
    assert_string_equal(e.text, "it has more than 1024 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_pod_without_labels),
        cmocka_unit_test(test_invalid_ones),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
