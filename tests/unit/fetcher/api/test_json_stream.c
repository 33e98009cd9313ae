/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/json_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LIMIT 4096

struct expectation {
    const char *text;
    const char *objects[4]; /* up to the first NULL */
    int result;             /* after them */
};

static const struct expectation expectations[] = {
    {"", {NULL}, JSON_STREAM_NONE},
    {" \n\t\r", {NULL}, JSON_STREAM_NONE},
    {"{}", {"{}"}, JSON_STREAM_NONE},
    {"{}{}\n{}", {"{}", "{}", "{}"}, JSON_STREAM_NONE},
    {"{\"a\":[{\"b\":{}}]} {", {"{\"a\":[{\"b\":{}}]}"}, JSON_STREAM_NONE},
    {"{\"a\":\"}{\"}{}", {"{\"a\":\"}{\"}", "{}"}, JSON_STREAM_NONE},
    {"{\"a\":\"\\\"}\"}{}", {"{\"a\":\"\\\"}\"}", "{}"}, JSON_STREAM_NONE},
    {"{\"a\":\"\\\\\"}{}", {"{\"a\":\"\\\\\"}", "{}"}, JSON_STREAM_NONE},
    {"{\"]\":\"[\"}\r\n{\"\\u007d\":1}", {"{\"]\":\"[\"}", "{\"\\u007d\":1}"}, JSON_STREAM_NONE},
    {"{\"k\":\"\xc3\xa4\"}", {"{\"k\":\"\xc3\xa4\"}"}, JSON_STREAM_NONE},
    {"{\"half\":\"", {NULL}, JSON_STREAM_NONE},
    {"{}x", {"{}"}, -EINVAL},
    {"[]", {NULL}, -EINVAL},
    {"null", {NULL}, -EINVAL},
    {"}", {NULL}, -EINVAL},
    {"{\"a\":\"\n\"}", {NULL}, -EINVAL},
    {"{\"a\":\"\\\n\"}", {NULL}, -EINVAL},
};

/* Adds a text in pieces that end at @cuts, and checks the objects. */
static void check(const struct expectation *expected, const size_t *cuts, size_t n_cuts)
{
    struct json_stream f;
    size_t added = 0, n = 0, len;
    const char *object;
    int r = JSON_STREAM_NONE;

    json_stream_init(&f, LIMIT);
    for (size_t i = 0; i < n_cuts && r >= 0; i++) {
        assert_int_equal(json_stream_add(&f, expected->text + added, cuts[i] - added), 0);
        added = cuts[i];
        while ((r = json_stream_next(&f, &object, &len)) == 0) {
            assert_non_null(expected->objects[n]);
            assert_int_equal(len, strlen(expected->objects[n]));
            assert_memory_equal(object, expected->objects[n], len);
            n++;
        }
    }
    assert_int_equal(r, expected->result);
    assert_null(expected->objects[n]);
    json_stream_deinit(&f);
}

static void test_whole(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(expectations); i++)
        check(&expectations[i], (size_t[]){strlen(expectations[i].text)}, 1);
}

static void test_cut_anywhere(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(expectations); i++) {
        size_t len = strlen(expectations[i].text);

        for (size_t a = 0; a <= len; a++)
            for (size_t b = a; b <= len; b++)
                check(&expectations[i], (size_t[]){a, b, len}, 3);
    }
}

static void test_byte_by_byte(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(expectations); i++) {
        size_t cuts[64], len = strlen(expectations[i].text);

        assert_true(len < ELEMENTS_OF(cuts));
        for (size_t j = 0; j < len; j++)
            cuts[j] = j + 1;
        cuts[len] = len;
        check(&expectations[i], cuts, len + 1);
    }
}

/* An object of exactly @len bytes. */
static char *make_object(size_t len)
{
    static const char head[] = "{\"", tail[] = "\":1}";
    char *text = malloc(len + 1);

    assert_non_null(text);
    memset(text, 'a', len);
    memcpy(text, head, sizeof(head) - 1);
    memcpy(text + len - (sizeof(tail) - 1), tail, sizeof(tail));
    return text;
}

static void test_limit(void **state)
{
    char *fits = make_object(LIMIT), *too_long = make_object(LIMIT + 1);
    struct json_stream f;
    const char *object;
    size_t len;

    json_stream_init(&f, LIMIT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(json_stream_add(&f, fits, LIMIT), 0);
        assert_int_equal(json_stream_next(&f, &object, &len), 0);
        assert_int_equal(len, LIMIT);
        assert_int_equal(json_stream_next(&f, &object, &len), JSON_STREAM_NONE);
    }
    assert_int_equal(json_stream_add(&f, too_long, LIMIT), 0);
    assert_int_equal(json_stream_next(&f, &object, &len), JSON_STREAM_NONE);
    assert_true(f.depth > 0);
    assert_int_equal(json_stream_add(&f, too_long + LIMIT, 1), 0);
    assert_int_equal(json_stream_next(&f, &object, &len), -EFBIG);
    json_stream_reset(&f);
    assert_int_equal(json_stream_add(&f, "{}", 2), 0);
    assert_int_equal(json_stream_next(&f, &object, &len), 0);
    json_stream_deinit(&f);
    free(fits);
    free(too_long);
}

/* White space between objects is dropped, also without an object after it. */
static void test_endless_space(void **state)
{
    static const char space[1000] = {[0 ... 999] = '\n'};
    struct json_stream f;
    const char *object;
    size_t len;

    json_stream_init(&f, LIMIT);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(json_stream_add(&f, space, sizeof(space)), 0);
        assert_int_equal(json_stream_next(&f, &object, &len), JSON_STREAM_NONE);
    }
    assert_int_equal(f.buf.len, 0);
    json_stream_deinit(&f);
}

/* The objects of a text in pieces: the third byte of each, '-' for one that was skipped. */
static void split_skipping(const char *text, size_t piece, char ret_seen[static 8])
{
    size_t len, n = 0;
    struct json_stream f;
    const char *object;
    int r;

    json_stream_init(&f, LIMIT);
    f.skips_long = true;
    for (size_t at = 0; at < strlen(text); at += piece) {
        assert_int_equal(json_stream_add(&f, text + at, size_min(piece, strlen(text) - at)), 0);
        while ((r = json_stream_next(&f, &object, &len)) != JSON_STREAM_NONE && n < 7)
            ret_seen[n++] = r == JSON_STREAM_TOO_LONG ? '-' : object[2];
        assert_true(f.buf.len <= LIMIT + piece);
    }
    assert_int_equal(f.depth, 0);
    ret_seen[n] = '\0';
    json_stream_deinit(&f);
}

/* In pieces of any length, objects that are too long are skipped, and few bytes are kept. */
static void test_skips_what_is_too_long(void **state)
{
    static const size_t pieces[] = {1, 7, 64, 1000, LIMIT - 1, LIMIT};
    static const char tail[] = "\"}\n{\"b\":2}{\"c\":[]}";
    char text[5 * LIMIT] = "{\"a\":1}\n{\"long\":\"", seen[8];
    size_t head = strlen(text);

    memset(text + head, '{', sizeof(text) - head - sizeof(tail));
    memcpy(text + sizeof(text) - sizeof(tail), tail, sizeof(tail));
    for (size_t i = 0; i < ELEMENTS_OF(pieces); i++) {
        split_skipping(text, pieces[i], seen);
        assert_string_equal(seen, "a-bc");
    }
}

static void test_caller_takes_none_out(void **state)
{
    struct json_stream f;
    int r = 0;

    json_stream_init(&f, LIMIT);
    for (int i = 0; i < LIMIT && r == 0; i++)
        r = json_stream_add(&f, "{}\n", 3);
    assert_int_equal(r, -EFBIG);
    json_stream_deinit(&f);
}

static void assert_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], 0);
}

static void test_wipes_what_was_used(void **state)
{
    static const char two[] = "{\"dummy\":1}{\"second\":2}{";
    const size_t first_len = 11, second_len = 12;
    struct json_stream f;
    const char *first, *second;
    size_t len;

    json_stream_init(&f, LIMIT);
    assert_int_equal(json_stream_add(&f, two, sizeof(two) - 1), 0);
    assert_int_equal(json_stream_next(&f, &first, &len), 0);
    assert_int_equal(len, first_len);
    assert_int_equal(json_stream_next(&f, &second, &len), 0);
    assert_int_equal(len, second_len);
    assert_zero(first, first_len);
    assert_int_equal(json_stream_next(&f, &second, &len), JSON_STREAM_NONE);
    assert_zero(first, first_len + second_len);
    assert_int_equal(json_stream_add(&f, "}", 1), 0);
    assert_int_equal(json_stream_next(&f, &second, &len), 0);
    assert_int_equal(len, 2);
    assert_memory_equal(second, "{}", 2);
    assert_zero(second + 2, first_len + second_len - 2);
    json_stream_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_endless_space),
        cmocka_unit_test(test_skips_what_is_too_long),
        cmocka_unit_test(test_caller_takes_none_out),
        cmocka_unit_test(test_wipes_what_was_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
