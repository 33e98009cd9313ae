/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "csi/messages.h"

#include "tests/unit/failmalloc.h"

static const uint8_t request[] = {
    0x0a, 3,   'c',  's', 'i',          /* 1: volume_id */
    0x22, 2,   '/',  't',               /* 4: target_path */
    0x30, 1,                            /* 6: readonly */
    0x42, 9,   0x0a, 1,   'k', 0x12, 4, /* 8: volume_context */
    'a',  'b', 0,    'd',               /* a value with a NUL in it */
    0x98, 6,   7,                       /* 99: an unknown field */
};

static Csi__PublishRequest *unpack(const uint8_t *bytes, size_t len, enum grpc_code *ret_code,
                                   struct error *e)
{
    return (Csi__PublishRequest *)message_unpack(&csi__publish_request__descriptor, bytes, len,
                                                 ret_code, e);
}

static void fields_are_strings(void **state)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__PublishRequest *message = unpack(request, sizeof(request), &code, &e);

    assert_non_null(message);
    assert_string_equal(message_text(&message->volume_id), "csi");
    assert_true(message_is_text(&message->volume_id));
    assert_string_equal(message_text(&message->target_path), "/t");
    assert_true(message->readonly);
    assert_int_equal(message->n_volume_context, 1);
    assert_string_equal(message_text(&message->volume_context[0]->key), "k");
    assert_false(message_is_text(&message->volume_context[0]->value));
    assert_int_equal(message->volume_context[0]->value.len, 4);
    assert_null(message->volume_capability);
    message_free(&message->base);
}

static void absent_fields_are_empty(void **state)
{
    static const uint8_t empty_id[] = {0x0a, 0};
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__PublishRequest *message = unpack(empty_id, sizeof(empty_id), &code, &e);

    assert_non_null(message);
    assert_string_equal(message_text(&message->volume_id), "");
    assert_string_equal(message_text(&message->target_path), "");
    assert_true(message_is_text(&message->target_path));
    message_free(&message->base);
    assert_null(message_free(NULL));
}

static void what_is_cut_off(void **state)
{
    for (size_t len = 0; len < sizeof(request); len++) {
        struct error e = ERROR_INIT;
        enum grpc_code code = GRPC_OK;
        Csi__PublishRequest *message = unpack(request, len, &code, &e);
        bool is_between_fields = len == 0 || len == 5 || len == 9 || len == 11 || len == 22;

        assert_int_equal(message != NULL, is_between_fields);
        if (message == NULL) {
            assert_int_equal(code, GRPC_INVALID_ARGUMENT);
            assert_non_null(strstr(e.text, "PublishRequest"));
        } else {
            message_free(&message->base);
        }
    }
}

/* Two bytes on the wire each, hundreds in memory. */
static void memory_is_limited_by_length(void **state)
{
    static uint8_t many[200000];
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;

    for (size_t i = 0; i < sizeof(many); i += 2)
        many[i] = 0x42;
    assert_null(unpack(many, sizeof(many), &code, &e));
    assert_int_equal(code, GRPC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(e.text, "too many parts"));
}

static int try_unpacking(void *userdata)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__PublishRequest *message = unpack(request, sizeof(request), &code, &e);

    assert_true(message != NULL || code == GRPC_RESOURCE_EXHAUSTED);
    if (message == NULL)
        return -ENOMEM;
    message_free(&message->base);
    return 0;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_unpacking, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_strings),
        cmocka_unit_test(absent_fields_are_empty),
        cmocka_unit_test(what_is_cut_off),
        cmocka_unit_test(memory_is_limited_by_length),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
