/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "grpc/message.h"

#include "tests/unit/failmalloc.h"

static void codes_have_names(void **state)
{
    assert_string_equal(grpc_code_name(GRPC_OK), "OK");
    assert_string_equal(grpc_code_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_int_equal(GRPC_UNAUTHENTICATED, 16);
}

/* ---- grpc-timeout */

static void timeouts_are_parsed(void **state)
{
    static const struct {
        const char *text;
        span_us span;
    } good[] = {
        {"1H", SPAN_SEC(3600)},
        {"2M", SPAN_SEC(120)},
        {"0S", 0},
        {"20S", SPAN_SEC(20)},
        {"119998m", SPAN_MS(119998)},
        {"7u", 7},
        {"1n", 1},
        {"1000n", 1},
        {"1001n", 2},
        {"00000001S", SPAN_SEC(1)},
        {"99999999H", 99999999ull * SPAN_SEC(3600)},
    };
    static const char *const bad[] = {"",    "S",   "1",   "1s",   "1h",         "-1S",
                                      "+1S", " 1S", "1 S", "1.0S", "100000000S", "1SS"};

    for (size_t i = 0; i < ELEMENTS_OF(good); i++) {
        span_us span = 1234;

        assert_int_equal(grpc_timeout_parse(good[i].text, strlen(good[i].text), &span), 0);
        assert_int_equal(span, good[i].span);
    }
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        span_us span = 1234;

        assert_int_equal(grpc_timeout_parse(bad[i], strlen(bad[i]), &span), -EINVAL);
        assert_int_equal(span, 1234);
    }
}

/* ---- grpc-message */

static void texts_are_encoded(void **state)
{
    static const struct {
        const char *text, *encoded;
    } pairs[] = {
        {"", ""},
        {"plain ASCII, ~!\"", "plain ASCII, ~!\""},
        {"100%", "100%25"},
        {"a\nb\x7f", "a%0Ab%7F"},
        {"\xc3\xbc", "%C3%BC"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(pairs); i++) {
        _cleanup_(buf_deinit) struct buf b = BUF_INIT(100);

        assert_int_equal(grpc_text_encode(pairs[i].text, &b), 0);
        assert_string_equal(buf_text(&b), pairs[i].encoded);
    }
}

static void long_texts_are_cut(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(GRPC_TEXT_ENCODED_MAX);
    char text[GRPC_TEXT_MAX + 10];

    memset(text, '\n', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(grpc_text_encode(text, &b), 0);
    assert_int_equal(b.len, GRPC_TEXT_ENCODED_MAX);
    /* never amid a character */
    buf_reset(&b);
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text + GRPC_TEXT_MAX - 2, "\xe2\x86\x92", 3);
    assert_int_equal(grpc_text_encode(text, &b), 0);
    assert_int_equal(b.len, GRPC_TEXT_MAX - 2);
    assert_int_equal(b.data[b.len - 1], 'x');
}

static void encoding_respects_the_buffer(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(3);

    assert_int_equal(grpc_text_encode("abcd", &b), -EFBIG);
    buf_reset(&b);
    assert_int_equal(grpc_text_encode("a%", &b), -EFBIG);
}

/* ---- messages */

static void message_in_pieces_is_read(void **state)
{
    static const uint8_t stream[] = {0, 0, 0, 0, 6, 'd', 'u', 'm', 'm', 'y', '!'};

    for (size_t piece = 1; piece <= sizeof(stream); piece++) {
        struct error e = ERROR_INIT;
        struct grpc_reader reader;

        grpc_reader_init(&reader);
        for (size_t at = 0; at < sizeof(stream); at += piece) {
            assert_int_not_equal(grpc_reader_end(&reader, &e), GRPC_OK);
            assert_int_equal(
                grpc_reader_add(&reader, stream + at, size_min(piece, sizeof(stream) - at), &e),
                GRPC_OK);
        }
        assert_int_equal(grpc_reader_end(&reader, &e), GRPC_OK);
        assert_int_equal(reader.message.len, 6);
        assert_memory_equal(reader.message.data, "dummy!", 6);
        grpc_reader_deinit(&reader);
    }
}

static void empty_message_is_read(void **state)
{
    static const uint8_t head[GRPC_HEAD_BYTES] = {0};
    struct error e = ERROR_INIT;
    struct grpc_reader reader;

    grpc_reader_init(&reader);
    assert_int_equal(grpc_reader_end(&reader, &e), GRPC_INTERNAL);
    assert_non_null(strstr(e.text, "message is missing"));
    assert_int_equal(grpc_reader_add(&reader, head, sizeof(head), &e), GRPC_OK);
    assert_int_equal(grpc_reader_end(&reader, &e), GRPC_OK);
    assert_int_equal(grpc_reader_add(&reader, head, 0, &e), GRPC_OK);
    assert_int_equal(grpc_reader_add(&reader, head, 1, &e), GRPC_INTERNAL);
    assert_non_null(strstr(e.text, "has one message"));
    grpc_reader_deinit(&reader);
}

static enum grpc_code read_head(uint8_t flag, uint32_t len, struct error *e)
{
    uint8_t head[GRPC_HEAD_BYTES];
    struct grpc_reader reader;
    enum grpc_code code;

    grpc_reader_init(&reader);
    grpc_head_write(head, len);
    head[0] = flag;
    code = grpc_reader_add(&reader, head, sizeof(head), e);
    if (code == GRPC_OK && len > 0) {
        assert_int_equal(grpc_reader_end(&reader, e), GRPC_INTERNAL);
        assert_non_null(strstr(e->text, "is incomplete"));
    }
    grpc_reader_deinit(&reader);
    return code;
}

static void heads_are_checked(void **state)
{
    struct error e = ERROR_INIT;

    assert_int_equal(read_head(0, GRPC_MESSAGE_MAX_BYTES, &e), GRPC_OK);
    assert_int_equal(read_head(0, GRPC_MESSAGE_MAX_BYTES + 1, &e), GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(e.text, "4194305"));
    assert_int_equal(read_head(0, UINT32_MAX, &e), GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(read_head(1, 3, &e), GRPC_UNIMPLEMENTED);
    assert_int_equal(read_head(2, 3, &e), GRPC_INTERNAL);
    assert_int_equal(read_head(0xff, 3, &e), GRPC_INTERNAL);
}

static int try_reading(void *userdata)
{
    static const uint8_t stream[] = {0, 0, 0, 0, 1, 'x'};
    struct error e = ERROR_INIT;
    struct grpc_reader reader;
    enum grpc_code code;

    grpc_reader_init(&reader);
    code = grpc_reader_add(&reader, stream, sizeof(stream), &e);
    grpc_reader_deinit(&reader);
    assert_true(code == GRPC_OK || code == GRPC_RESOURCE_EXHAUSTED);
    return code == GRPC_OK ? 0 : -ENOMEM;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_reading, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_have_names),
        cmocka_unit_test(timeouts_are_parsed),
        cmocka_unit_test(texts_are_encoded),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(encoding_respects_the_buffer),
        cmocka_unit_test(message_in_pieces_is_read),
        cmocka_unit_test(empty_message_is_read),
        cmocka_unit_test(heads_are_checked),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
