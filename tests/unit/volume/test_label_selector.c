/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/label_selector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

static int to_text(const char *json, char **ret_text, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *selector = cJSON_Parse(json);

    assert_non_null(selector);
    return label_selector_text(selector, &FIELD(NULL, "s"), ret_text, e);
}

#define EXPRESSION(words) "{\"matchExpressions\":[{\"key\":\"k\"," words "}]}"

static void test_texts(void **state)
{
    static const struct {
        const char *json;
        const char *text;
    } cases[] = {
        {"{}", ""},
        {"{\"matchLabels\":{},\"matchExpressions\":[]}", ""},
        {"{\"matchLabels\":null}", ""},
        {"{\"matchLabels\":{\"a\":\"1\",\"b.c/d\":\"\"}}", "a=1,b.c/d="},
        {"{\"matchLabels\":{\"a\":null}}", "a="},
        {EXPRESSION("\"operator\":\"In\",\"values\":[\"x\",\"y\"]"), "k in (x,y)"},
        {EXPRESSION("\"operator\":\"NotIn\",\"values\":[\"\"]"), "k notin ()"},
        {EXPRESSION("\"operator\":\"Exists\""), "k"},
        {EXPRESSION("\"operator\":\"DoesNotExist\",\"values\":[]"), "!k"},
        {"{\"matchLabels\":{\"a\":\"1\"},\"matchExpressions\":[{\"key\":\"k\",\"operator\":"
         "\"Exists\"},{\"key\":\"l\",\"operator\":\"DoesNotExist\"}]}",
         "a=1,k,!l"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;
        char *text = NULL;

        if (to_text(cases[i].json, &text, &e) != 0)
            fail_msg("%s: %s", cases[i].json, e.text);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

/* Y15: not the same as {} */
static void test_none_selects_nothing(void **state)
{
    char *text = NULL;

    assert_int_equal(label_selector_text(NULL, &FIELD(NULL, "s"), &text, NULL), 0);
    assert_string_equal(text, LABEL_SELECTOR_NOTHING);
    free(text);
}

static void test_refused(void **state)
{
    static const struct {
        const char *json;
        const char *error;
    } cases[] = {
        {"[]", "s: expected a mapping"},
        {"{\"matchLabel\":{}}", "s.matchLabel: unknown field"},
        {"{\"matchLabels\":[]}", "s.matchLabels: expected a mapping"},
        {"{\"matchLabels\":{\"a\":1}}", "s.matchLabels.a: expected a string"},
        {"{\"matchLabels\":{\"a,b\":\"1\"}}", "\"a,b\" is not a valid key for a label"},
        {"{\"matchLabels\":{\"A/b\":\"1\"}}", "\"A/b\" is not a valid key for a label"},
        {"{\"matchLabels\":{\"a\":\"1,b=2\"}}", "s.matchLabels.a: \"1,b=2\" is not a valid value"},
        {"{\"matchExpressions\":{}}", "s.matchExpressions: expected a list"},
        {"{\"matchExpressions\":[{\"operator\":\"In\"}]}",
         "s.matchExpressions[0].key: required field is missing"},
        {EXPRESSION("\"operator\":\"in\""), "s.matchExpressions[0].operator: invalid operator"},
        {EXPRESSION("\"operator\":\"In\""),
         "s.matchExpressions[0].values: values are missing for the operator In"},
        {EXPRESSION("\"operator\":\"Exists\",\"values\":[\"a\"]"),
         "s.matchExpressions[0].values: no values are allowed for the operator Exists"},
        {EXPRESSION("\"operator\":\"In\",\"values\":\"a\""), "values: expected a list"},
        {EXPRESSION("\"operator\":\"In\",\"values\":[\"a\",7]"), "values[1]: expected a string"},
        {EXPRESSION("\"operator\":\"In\",\"values\":[\"a)\"]"), "values[0]: \"a)\" is not a valid"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;
        char *text = NULL;

        assert_int_equal(to_text(cases[i].json, &text, &e), -EINVAL);
        if (strstr(e.text, cases[i].error) == NULL)
            fail_msg("\"%s\" does not have \"%s\" in it", e.text, cases[i].error);
    }
}

/* A selector that is too long, by its values and as a whole. */
static void test_limit(void **state)
{
    static const char value[] = "\"v123456789012345678901234567890123456789012345678901234567890\"";
    char *json = malloc(100000), *text = NULL, *at;
    struct error e = ERROR_INIT;

    assert_non_null(json);
    at =
        stpcpy(json, "{\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"In\",\"values\":[\"a\"");
    for (size_t i = 0; i < LABEL_SELECTOR_MAX_BYTES / 60; i++)
        at = stpcpy(stpcpy(at, ","), value);
    stpcpy(at, "]}]}");
    assert_int_equal(to_text(json, &text, &e), -E2BIG);
    at = stpcpy(json, "{\"matchLabels\":{\"a\":\"\"");
    for (size_t i = 0; i < LABEL_SELECTOR_MAX_BYTES / 60; i++)
        at += snprintf(at, 100, ",\"k%zu\":%s", i, value);
    stpcpy(at, "}}");
    assert_int_equal(to_text(json, &text, &e), -E2BIG);
    free(json);
}

static int attempt(void *userdata)
{
    struct error e = ERROR_INIT;
    char *text = NULL;
    int r = label_selector_text(userdata, &FIELD(NULL, "s"), &text, &e);

    free(text);
    return r;
}

static void test_no_memory(void **state)
{
    cJSON *selector = cJSON_Parse(EXPRESSION("\"operator\":\"In\",\"values\":[\"x\"]"));

    assert_non_null(selector);
    failmalloc_try(attempt, selector);
    cJSON_Delete(selector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),     cmocka_unit_test(test_none_selects_nothing),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_limit),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
