/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "encoding/yaml_print.h"

#include "tests/unit/failmalloc.h"

static cJSON *parse(const char *text)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    if (json_parse(text, strlen(text), &json, &e) < 0)
        fail_msg("%s", e.text);
    return json;
}

static void assert_printed(const char *from, const char *expected)
{
    struct buf text = BUF_INIT(10000);
    struct error e = ERROR_INIT;
    cJSON *json = parse(from), *again = NULL;

    assert_int_equal(yaml_print(json, &text), 0);
    if (expected != NULL)
        assert_string_equal(buf_text(&text), expected);
    if (yaml_parse_one(text.data, text.len, &again, &e) < 0)
        fail_msg("%s in:\n%s", e.text, buf_text(&text));
    if (!cJSON_Compare(json, again, true))
        fail_msg("this is something else:\n%s", buf_text(&text));
    cJSON_Delete(again);
    cJSON_Delete(json);
    buf_deinit(&text);
}

static void test_prints_like_kubectl(void **state)
{
    assert_printed(
        "{\"items\":[{\"target\":\"/mnt/db\",\"count\":5,\"volume\":{\"state\":\"stale\"},"
        "\"objects\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"none\":[],\"empty\":{},"
        "\"on\":true,\"gone\":null},\"second\"],\"kind\":\"List\"}",
        "items:\n"
        "- target: /mnt/db\n"
        "  count: 5\n"
        "  volume:\n"
        "    state: stale\n"
        "  objects:\n"
        "  - name: a\n"
        "  - name: b\n"
        "  none: []\n"
        "  empty: {}\n"
        "  \"on\": true\n"
        "  gone: null\n"
        "- second\n"
        "kind: List\n");
    assert_printed("[[1,[2,3]],[{\"a\":[4]}]]", "- - 1\n  - - 2\n    - 3\n- - a:\n    - 4\n");
    assert_printed("[]", "[]\n");
    assert_printed("\"word\"", "word\n");
}

static void test_texts_stay_texts(void **state)
{
    static const char *const texts[] = {
        "\"true\"",
        "\"No\"",
        "\"~\"",
        "\"null\"",
        "\"12\"",
        "\"1e3\"",
        "\"-\"",
        "\"\"",
        "\" a\"",
        "\"a: b\"",
        "\"a #b\"",
        "\"- a\"",
        "\"2026-01-02T03:04:05.678Z\"",
        "\"..2026_01_02\"",
        "\"a\\nb\\tc\\\\d\\\"e\\u007f\\u0001\"",
        "\"*x\"",
        "\"&x\"",
        "\"!x\"",
        "\"0x1f\"",
        "\".5\"",
        "\"https://10.0.0.1:6443\"",
        "\"a,b\"",
        "\"{a}\"",
        "\"%a\"",
        "\"@a\"",
        "\"`a\"",
        "\"inf\"",
        "\"\xc3\xa9\xe2\x82\xac\"",
        "\"---\"",
        "\"<<\"",
        "\"=\"",
        "\"yes\"",
        "\"OFF\"",
        "\"NaN\"",
    };

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        char document[256];

        assert_printed(texts[i], NULL);
        snprintf(document, sizeof(document), "{\"k\":%s,\"l\":[%s],\"m\":[[%s]]}", texts[i],
                 texts[i], texts[i]);
        assert_printed(document, NULL);
        snprintf(document, sizeof(document), "{%s:1}", texts[i]);
        assert_printed(document, NULL);
    }
}

static void test_limit(void **state)
{
    struct buf text = BUF_INIT(20);
    cJSON *json = parse("{\"a\":\"some text\",\"b\":\"and some more\"}");

    assert_int_equal(yaml_print(json, &text), -EFBIG);
    buf_deinit(&text);
    cJSON_Delete(json);
}

static int try_printing(void *userdata)
{
    struct buf text = BUF_INIT(1000);
    int r = yaml_print(userdata, &text);

    buf_deinit(&text);
    return r;
}

static void test_allocation_failures_are_reported(void **state)
{
    cJSON *json = parse("{\"a\":[1,{\"b\":\"c d\"}],\"e\":{}}");

    failmalloc_try(try_printing, json);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prints_like_kubectl),
        cmocka_unit_test(test_texts_stay_texts),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
