/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "encoding/yaml.h"

#include "tests/unit/failmalloc.h"

static void expect(const char *text, const char *expected)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;
    char *printed;

    if (yaml_parse_one(text, strlen(text), &json, &e) < 0)
        fail_msg("%s: %s", text, e.text);
    printed = cJSON_PrintUnformatted(json);
    assert_string_equal(printed, expected);
    free(printed);
    cJSON_Delete(json);
}

static void expect_bad(const char *text, size_t len, const char *message)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    assert_int_equal(yaml_parse_one(text, len, &json, &e), -EINVAL);
    assert_null(json);
    if (strstr(e.text, message) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", text, message, e.text);
}

struct seen {
    struct buf text; /* "LINE:JSON\n" or "LINE:error\n" */
    int stop_at;     /* the document whose callback ends the parse; 0: none */
    int n;
};

static int on_document(void *userdata, struct yaml_document *document)
{
    struct seen *seen = userdata;
    char *printed = document->json != NULL ? cJSON_PrintUnformatted(document->json) : NULL;

    assert_true((document->result < 0) == (document->json == NULL));
    assert_true((document->result < 0) == (document->error.text[0] != '\0'));
    assert_int_equal(
        buf_addf(&seen->text, "%zu:%s\n", document->line, printed != NULL ? printed : "error"), 0);
    free(printed);
    return ++seen->n == seen->stop_at ? 7 : 0;
}

static void expect_stream(const char *text, const char *expected)
{
    struct seen seen = {.text = BUF_INIT(10000)};

    assert_int_equal(yaml_parse_documents(text, strlen(text), on_document, &seen, NULL), 0);
    assert_string_equal(buf_text(&seen.text), expected);
    buf_deinit(&seen.text);
}

#define EXPECT_BAD(text, message) expect_bad(text, sizeof(text) - 1, message)

/* Compared with the output of `kubectl label --local -o json`, version 1.32. */
static void test_scalars_mean_what_they_mean_to_kubectl(void **state)
{
    static const struct {
        const char *yaml, *json;
    } cases[] = {
        {"true", "true"},
        {"True", "true"},
        {"yes", "true"},
        {"y", "true"},
        {"On", "true"},
        {"no", "false"},
        {"n", "false"},
        {"OFF", "false"},
        {"tRUE", "\"tRUE\""},
        {"~x", "\"~x\""},
        {"\"yes\"", "\"yes\""},
        {"'1'", "\"1\""},
        {"'it''s'", "\"it's\""},
        {"[~, null, ]", "[null,null]"},
        {"1", "1"},
        {"+5", "5"},
        {"-7", "-7"},
        {"1_000", "1000"},
        {"0x1F", "31"},
        {"0o17", "15"},
        {"017", "15"},
        {"08", "8"},
        {"0o8", "\"0o8\""},
        {"0b11", "3"},
        {"-0b11", "-3"},
        {"0x", "\"0x\""},
        {"0x0x1", "\"0x0x1\""},
        {"1-1", "\"1-1\""},
        {"+", "\"+\""},
        {"1.5", "1.5"},
        {".5", "0.5"},
        {"5.", "5"},
        {"12e03", "12000"},
        {"1e+2", "100"},
        {"1e", "\"1e\""},
        {"1.2.3", "\"1.2.3\""},
        {"1e999", "\"1e999\""},
        {".", "\".\""},
        {"._5", "\"._5\""},
        {"2020-01-01", "\"2020-01-01\""},
        {"10.0.0.1", "\"10.0.0.1\""},
        {"!!str 1", "\"1\""},
        {"!!int \"1\"", "1"},
        {"!!bool yes", "true"},
        {"!foo 1", "\"1\""},
        {"|\n a\n b\n", "\"a\\nb\\n\""},
        {">-\n a\n b\n", "\"a b\""},
        {"\"\\x41\\u00e4\\U0001F600\"", "\"A\xc3\xa4\xf0\x9f\x98\x80\""},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        expect(cases[i].yaml, cases[i].json);
    EXPECT_BAD("a: .inf", "line 1, column 4: invalid number, expected a finite one");
    EXPECT_BAD("!!int x", "does not match its tag");
}

static void test_keys(void **state)
{
    expect("{1_0: a, on: b, 0.5: c, \"y\": d, x y: e}",
           "{\"10\":\"a\",\"true\":\"b\",\"0.5\":\"c\",\"y\":\"d\",\"x y\":\"e\"}");
    EXPECT_BAD("~: a", "line 1, column 1: invalid key, expected");
    EXPECT_BAD("? [a]\n: b", "invalid key, expected");
    EXPECT_BAD("? {a: b}\n: b", "invalid key, expected");
    EXPECT_BAD("a: 1\nb: 2\na: 3\n", "line 3, column 1: duplicate key \"a\" in a mapping");
    EXPECT_BAD("{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}", "duplicate key \"c\" in a mapping");
    expect("{a: {b: 1}, c: {b: 1}}", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}");
}

static void test_anchors_and_merges(void **state)
{
    expect("a: &x {b: 1}\nc: *x\n", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}");
    expect("&k a: *k", "{\"a\":\"a\"}");
    expect("[&x 1, &x 2, *x]", "[1,2,2]");
    expect("d: &d {a: 1, b: 2}\ne: {b: 3, <<: *d}\n",
           "{\"d\":{\"a\":1,\"b\":2},\"e\":{\"b\":3,\"a\":1}}");
    expect("{<<: [{a: 1}, {a: 2, b: 3}], c: 4}", "{\"c\":4,\"a\":1,\"b\":3}");
    expect("{<<: &x {a: &y 1}, b: *x, c: *y}", "{\"b\":{\"a\":1},\"c\":1,\"a\":1}");
    expect("{\"<<\": 1}", "{\"<<\":1}");
    EXPECT_BAD("{<<: 1}", "invalid value of <<");
    EXPECT_BAD("{<<: [1]}", "invalid value of <<");
    /* of two, the later one wins; the mapping's own key wins over both */
    expect("{<<: {a: 1, b: 1}, <<: {a: 2, c: 2}, c: 3}", "{\"c\":3,\"a\":2,\"b\":1}");
    EXPECT_BAD("a: *dummy-password", "line 1, column 4: an alias");
    EXPECT_BAD("&x [*x]", "refers to itself");
}

/* An apparent alias or tag may be a password without quotes. */
static void test_messages_hold_no_values(void **state)
{
    static const char *const texts[] = {"a: *DummySecret", "a: !DummySecret \"",
                                        "a: !!int DummySecret",
                                        "a: {DummySecret: ", "a: \"DummySecret\\q\""};

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        struct error e = ERROR_INIT;
        cJSON *json = NULL;

        assert_int_equal(yaml_parse_one(texts[i], strlen(texts[i]), &json, &e), -EINVAL);
        assert_null(strstr(e.text, "DummySecret"));
        assert_non_null(strstr(e.text, "line "));
    }
}

static void test_binary(void **state)
{
    expect("{a: !!binary aGVsbG8=, b: aGVsbG8=}", "{\"a\":\"hello\",\"b\":\"aGVsbG8=\"}");
    EXPECT_BAD("a: !!binary \"%\"", "line 1, column 4: the !!binary value is not valid base64");
    EXPECT_BAD("a: !!binary gIA=", "not text in UTF-8");
}

/* sigs.k8s.io/yaml: integers as they are, floats with the precision of 32 bits. */
static void test_number_keys(void **state)
{
    static const struct {
        const char *key, *text;
    } cases[] = {
        {"9007199254740993", "9007199254740993"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"99999999999999999999", "1e+20"},
        {"0x1f", "31"},
        {"-7", "-7"},
        {"1.5", "1.5"},
        {".5", "0.5"},
        {"3.141592653589793", "3.1415927"},
        {"1234567.5", "1.2345675e+06"},
        {"999999.9", "999999.9"},
        {"100000.0", "100000"},
        {"9.9999999", "10"},
        {"0.0001", "0.0001"},
        {"0.00001", "1e-05"},
        {"-0.0", "-0"},
        {"1e300", ".inf"},
        {"-1e300", "-.inf"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        char yaml[100], json[100];

        snprintf(yaml, sizeof(yaml), "%s: x\n", cases[i].key);
        snprintf(json, sizeof(json), "{\"%s\":\"x\"}", cases[i].text);
        expect(yaml, json);
    }
    expect("[&x 9007199254740993, {*x : b}]",
           "[9.00719925474099e+15,{\"9007199254740993\":\"b\"}]");
    EXPECT_BAD("18446744073709551615: a", "number of 64 bits");
}

/* kubectl's line reader ends each line with a newline; clientcmd reads kubeconfigs without it. */
static void test_last_line_without_newline(void **state)
{
    const char text[] = "k: |\n  pw";
    cJSON *json = NULL;

    expect(text, "{\"k\":\"pw\\n\"}");
    expect("k: |\n  pw\n", "{\"k\":\"pw\\n\"}");
    expect("k: |+\n  pw", "{\"k\":\"pw\\n\"}");
    expect("k: |-\n  pw", "{\"k\":\"pw\"}");
    expect("k: pw", "{\"k\":\"pw\"}");
    assert_int_equal(yaml_parse_verbatim(text, strlen(text), &json, NULL), 0);
    assert_string_equal(json_text(json, "k"), "pw");
    cJSON_Delete(json);
}

static void test_single_quote_in_double_quotes(void **state)
{
    expect("a: \"it\\'s \\\\ \\\\\\' \\\"q\"\nb: 'x\\'\nc: x\\'y\nd: \"\\'\"\n",
           "{\"a\":\"it's \\\\ \\\\' \\\"q\",\"b\":\"x\\\\\",\"c\":\"x\\\\'y\",\"d\":\"'\"}");
    expect("a: \"\n  multi \\\n  \\' \"\n", "{\"a\":\" multi ' \"}");
    EXPECT_BAD("a: \"\\'\\q\"", "unknown escape");
    EXPECT_BAD("a: \"\\'", "unexpected end");
}

static void test_byte_order_marks(void **state)
{
    expect_stream("\xef\xbb\xbf"
                  "a: 1\n---\n\xef\xbb\xbf"
                  "b: x\xef\xbb\xbfy\nc: 1\n",
                  "1:{\"a\":1}\n3:{\"b\":\"x\xef\xbb\xbfy\",\"c\":1}\n");
    expect_stream("# x\n--- # y\n\xef\xbb\xbf{\"a\":1}\n---\n\xef\xbb\xbf\n---\nb: 1\n",
                  "3:{\"a\":1}\n7:{\"b\":1}\n");
}

/* Values of objects may have NULs; other documents, as specs, may not. */
static void test_nul_in_objects(void **state)
{
    expect_stream("a: \"x\\0y\"\nb: !!binary AGE=\n", "1:{\"a\":\"x\xc0\x80y\",\"b\":\"\xc0\x80"
                                                      "a\"}\n");
    expect_stream("{\"a\":\"\\u0000\"}{\"b\":1}", "1:{\"a\":\"\xc0\x80\"}\n1:{\"b\":1}\n");
    EXPECT_BAD("a: !!binary AGE=", "NUL");
}

/* As a Go json.Decoder: values follow each other, and after the first one YAML may follow. */
static void test_json_streams(void **state)
{
    expect_stream("{\"a\":1}{\"b\":2}\n  {\"c\":3}\n\n", "1:{\"a\":1}\n1:{\"b\":2}\n2:{\"c\":3}\n");
    expect_stream("{\"a\":1}\n  b: 1\n  c: 2", "1:{\"a\":1}\n2:{\"b\":1,\"c\":2}\n");
    expect_stream("{\"a\":1} {b: 2}\n", "1:{\"a\":1}\n1:{\"b\":2}\n");
    expect_stream("{\"a\":1}{\"b\":2}\n\n{\"c\":x}", "1:{\"a\":1}\n1:{\"b\":2}\n3:error\n");
    expect_stream("{\"a\":1} # remark\n", "1:{\"a\":1}\n");
    EXPECT_BAD("{\"a\":1}{\"b\":2}", "second document");
}

static void test_json_is_read_as_json(void **state)
{
    expect("{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [1, 2.5, null]\n}\n",
           "{\"a\":\"\xf0\x9f\x98\x80/\",\"b\":[1,2.5,null]}");
    expect("---\n[1]\n", "[1]");
    /* braces alone do not make it JSON, and YAML folds lines in quotes */
    expect("{a: \"b\n  c\"}", "{\"a\":\"b c\"}");
    expect("{\"a\": \"b\n  c\"}", "{\"a\":\"b c\"}");
    EXPECT_BAD("{\"a\": \"x\\u0000y\"}", "NUL");
}

static void test_invalid_text_is_refused(void **state)
{
    static const char *const not_utf8[] = {"\x80",         "\xc0\x80",         "\xc3",
                                           "\xe0\x80\x80", "\xed\xa0\x80",     "\xf4\x90\x80\x80",
                                           "\xff",         "\xf0\x80\x80\x80", "\xe2\x82"};

    for (size_t i = 0; i < ELEMENTS_OF(not_utf8); i++)
        expect_bad(not_utf8[i], strlen(not_utf8[i]), "not UTF-8");
    EXPECT_BAD("a: b\nc: \xff", "line 2: the text is not UTF-8");
    EXPECT_BAD("a\n: \0", "line 2: the text contains a NUL byte");
    EXPECT_BAD("a: 1\nb: \x01", "line 2, column 1: control characters");
    EXPECT_BAD("a: \"x\\0y\"", "NUL");
    expect("\xef\xbb\xbf"
           "a: 1",
           "{\"a\":1}");
    expect("", "null");
    expect("# nothing\n---\n", "null");
}

/* ---- streams */

static void test_streams(void **state)
{
    struct seen seen = {.text = BUF_INIT(1000), .stop_at = 2};

    expect_stream("a: 1\n---\n\nb: 2\n--- c\n---\n---\n# x\n--- {\"d\": 1}\n",
                  "1:{\"a\":1}\n4:{\"b\":2}\n5:\"c\"\n9:{\"d\":1}\n");
    expect_stream("# x\n%YAML 1.1\n---\na: 1\n...\n---\nb: 2\n", "4:{\"a\":1}\n7:{\"b\":2}\n");
    expect_stream("a\r\n---\r\nb\r\n", "1:\"a\"\n3:\"b\"\n");
    expect_stream("a: |\n  x\n  ---\n---x: 1\n", "1:{\"a\":\"x\\n---\\n\",\"---x\":1}\n");
    expect_stream("a: ---\nb: '--- '\n", "1:{\"a\":\"---\",\"b\":\"--- \"}\n");
    /* a bad one takes none of the others with it */
    expect_stream("a: 1\n---\nb: {\n---\nc: 1\nc: 2\n---\n*x\n---\nd: 4\n",
                  "1:{\"a\":1}\n3:error\n5:error\n7:error\n10:{\"d\":4}\n");
    assert_int_equal(yaml_parse_documents("a\n---\nb\n---\nc", 13, on_document, &seen, NULL), 7);
    assert_string_equal(buf_text(&seen.text), "1:\"a\"\n3:\"b\"\n");
    buf_deinit(&seen.text);
    EXPECT_BAD("a\n---\nb\n", "line 3: unexpected second document");
}

/* ---- limits */

static void add(struct buf *b, const char *text, unsigned times)
{
    while (times-- > 0)
        assert_int_equal(buf_add_text(b, text), 0);
}

static void expect_limit(struct buf *b, const char *message)
{
    expect_bad(b->data, b->len, message);
    buf_deinit(b);
}

static void test_depth_is_limited(void **state)
{
    struct buf b = BUF_INIT(100000);
    cJSON *json = NULL;

    add(&b, "[ x, ", YAML_MAX_DEPTH);
    add(&b, "]", YAML_MAX_DEPTH);
    assert_int_equal(yaml_parse_one(b.data, b.len, &json, NULL), 0);
    cJSON_Delete(json);
    buf_deinit(&b);
    add(&b, "[ x, ", YAML_MAX_DEPTH + 1);
    expect_limit(&b, "nests deeper than 256 levels");
    add(&b, "[", YAML_MAX_DEPTH + 1);
    add(&b, "]", YAML_MAX_DEPTH + 1);
    expect_limit(&b, "nests deeper than 256 levels");
    /* by way of an alias */
    add(&b, "- &a ", 1);
    add(&b, "[", YAML_MAX_DEPTH / 2);
    add(&b, "]", YAML_MAX_DEPTH / 2);
    add(&b, "\n- ", 1);
    add(&b, "[", YAML_MAX_DEPTH / 2);
    add(&b, "*a", 1);
    add(&b, "]", YAML_MAX_DEPTH / 2);
    expect_limit(&b, "nests deeper than 256 levels");
}

static void test_size_is_limited(void **state)
{
    struct buf b = BUF_INIT(YAML_MAX_BYTES + 10000);
    char *line = malloc(1 << 16);

    assert_non_null(line);
    memset(line, 'x', (1 << 16) - 1);
    line[(1 << 16) - 1] = '\0';
    add(&b, line, YAML_MAX_BYTES >> 16);
    add(&b, "x", 1000);
    expect_limit(&b, "bytes is larger than the limit");
    free(line);
    add(&b, "[", 1);
    add(&b, "1,", YAML_MAX_VALUES);
    add(&b, "]", 1);
    expect_limit(&b, "more than 400000 values");
    add(&b, "[", 1);
    add(&b, "x,", YAML_MAX_VALUES);
    add(&b, "]", 1);
    expect_limit(&b, "more than 400000 values");
}

static void test_aliases_are_limited(void **state)
{
    struct buf b = BUF_INIT(1000000);

    /* ten to the ninth, in 700 bytes */
    add(&b, "- &a0 [x,x,x,x,x,x,x,x,x,x]\n", 1);
    for (unsigned i = 1; i < 9; i++) {
        assert_int_equal(buf_addf(&b, "- &a%u [*a%u", i, i - 1), 0);
        for (unsigned k = 1; k < 10; k++)
            assert_int_equal(buf_addf(&b, ",*a%u", i - 1), 0);
        add(&b, "]\n", 1);
    }
    expect_limit(&b, "aliases copy more than 16 MiB");
    /* few values, but long ones */
    add(&b, "- &a '", 1);
    add(&b, "0123456789abcdef", 1 << 12);
    add(&b, "'\n", 1);
    add(&b, "- *a\n", (YAML_MAX_BYTES >> 16) + 1);
    expect_limit(&b, "aliases copy more than 16 MiB");
    add(&b, "- &a x\n", 1001);
    expect_limit(&b, "more than 1000 anchors");
}

static int try_parse(void *userdata)
{
    cJSON *json = NULL;
    int r = yaml_parse_one(userdata, strlen(userdata), &json, NULL);

    cJSON_Delete(json);
    return r;
}

static void test_allocation_failures_are_reported(void **state)
{
    char yaml[] = "a: &a {b: 1, c: [x, 'y']}\n1: *a\nd: {<<: [*a, {e: f}], c: true}\n&k k: *k\n";
    char json[] = "{\"a\": [1, {\"b\": \"c\"}]}";

    failmalloc_try(try_parse, yaml);
    failmalloc_try(try_parse, json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_mean_what_they_mean_to_kubectl),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_anchors_and_merges),
        cmocka_unit_test(test_messages_hold_no_values),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_last_line_without_newline),
        cmocka_unit_test(test_single_quote_in_double_quotes),
        cmocka_unit_test(test_byte_order_marks),
        cmocka_unit_test(test_json_streams),
        cmocka_unit_test(test_number_keys),
        cmocka_unit_test(test_nul_in_objects),
        cmocka_unit_test(test_json_is_read_as_json),
        cmocka_unit_test(test_invalid_text_is_refused),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_size_is_limited),
        cmocka_unit_test(test_aliases_are_limited),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
