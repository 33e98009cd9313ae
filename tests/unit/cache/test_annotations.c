/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/annotations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/pod_selector.h"
#include "encoding/json.h"

static struct object_staging read_json(const char *json)
{
    _cleanup_(cJSON_Deletep) cJSON *annotations = cJSON_Parse(json);
    struct object_staging staging;

    assert_non_null(annotations);
    annotations_read_staging(annotations, &staging);
    return staging;
}

static void test_none(void **state)
{
    struct object_staging s = {.is_paused = true};

    annotations_read_staging(NULL, &s);
    assert_false(s.is_paused || s.has_first || s.over != 0 || s.invalid != NULL);
    s = read_json("{\"secretfs.io/other\": 1, \"pause\": \"true\"}");
    assert_false(s.is_paused || s.has_first || s.over != 0 || s.invalid != NULL);
}

static void test_valid_ones(void **state)
{
    struct object_staging s = read_json("{\"secretfs.io/pause\": \"true\"}");

    assert_true(s.is_paused && !s.has_first && s.over == 0 && s.invalid == NULL);
    s = read_json("{\"secretfs.io/pause\": \"false\", \"secretfs.io/rollout-over\": \"1h30m\","
                  " \"secretfs.io/rollout-first\": \"5%\"}");
    assert_true(!s.is_paused && s.has_first && s.invalid == NULL);
    assert_int_equal(s.first_percent, 5);
    assert_true(s.over == SPAN_SEC(5400));
    s = read_json("{\"secretfs.io/rollout-first\": \"100%\", \"secretfs.io/rollout-over\": \"0\"}");
    assert_int_equal(s.first_percent, 100);
    assert_true(s.over == 0 && s.first_selector == NULL);
}

static void test_selectors(void **state)
{
    _cleanup_(cJSON_Deletep) cJSON *annotations =
        cJSON_Parse("{\"secretfs.io/rollout-first\": \"canary=true\"}");
    struct object_staging s;

    annotations_read_staging(annotations, &s);
    assert_true(s.has_first && s.first_percent == 0 && s.invalid == NULL);
    assert_string_equal(s.first_selector, "canary=true");
}

/* It stays, for the reason. */
static void test_invalid_selector(void **state)
{
    _cleanup_(cJSON_Deletep) cJSON *annotations =
        cJSON_Parse("{\"secretfs.io/rollout-first\": \"canary in\"}");
    char too_long[POD_SELECTOR_MAX_LEN + 2] = "";
    struct object_staging s;

    annotations_read_staging(annotations, &s);
    assert_string_equal(s.invalid, ANNOTATION_ROLLOUT_FIRST);
    assert_string_equal(s.first_selector, "canary in");
    assert_false(s.has_first);
    memset(too_long, 'a', sizeof(too_long) - 1);
    assert_true(cJSON_ReplaceItemInObject(annotations, ANNOTATION_ROLLOUT_FIRST,
                                          cJSON_CreateString(too_long)));
    annotations_read_staging(annotations, &s);
    assert_string_equal(s.invalid, ANNOTATION_ROLLOUT_FIRST);
    assert_null(s.first_selector);
}

/* Each is named, and what the others say has no effect. */
static void test_invalid_ones(void **state)
{
    static const struct {
        const char *name, *json;
    } cases[] = {
        {"secretfs.io/pause", "{\"secretfs.io/pause\": \"yes\"}"},
        {"secretfs.io/pause", "{\"secretfs.io/pause\": true}"},
        {"secretfs.io/pause", "{\"secretfs.io/pause\": \"\"}"},
        {"secretfs.io/rollout-over", "{\"secretfs.io/rollout-over\": \"10\"}"},
        {"secretfs.io/rollout-over", "{\"secretfs.io/rollout-over\": \"forever\"}"},
        {"secretfs.io/rollout-over", "{\"secretfs.io/rollout-over\": \"8d\"}"},
        {"secretfs.io/rollout-over", "{\"secretfs.io/rollout-over\": \"169h\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"10\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"101%\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"%\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"1.5\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \" \"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"canary=true,\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"-1%\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": \"1000%\"}"},
        {"secretfs.io/rollout-first", "{\"secretfs.io/rollout-first\": null}"},
        {"secretfs.io/rollout-first",
         "{\"secretfs.io/pause\": \"true\", \"secretfs.io/rollout-first\": \"1.5%\"}"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct object_staging s = read_json(cases[i].json);

        if (s.invalid == NULL || s.is_paused || s.has_first || s.over != 0)
            fail_msg("%s was read", cases[i].json);
        assert_string_equal(s.invalid, cases[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),         cmocka_unit_test(test_valid_ones),
        cmocka_unit_test(test_selectors),    cmocka_unit_test(test_invalid_selector),
        cmocka_unit_test(test_invalid_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
