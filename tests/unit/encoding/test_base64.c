/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include <openssl/evp.h>

#include "encoding/base64.h"

static void test_decodes_as_kubernetes_does(void **state)
{
    static const struct {
        const char *text, *bytes;
    } cases[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zm8=", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmFy", "foobar"},
        {"Zm\n9v\r\nYm\nFy\n", "foobar"},
        {"Zm8\n=\n", "fo"},
        {"\n\n", ""},
        {"Zh==", "f"}, /* stray bits are not looked at */
        {"+/+/", "\xfb\xff\xbf"},
    };
    uint8_t bytes[64];
    size_t len;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        if (base64_decode(cases[i].text, strlen(cases[i].text), bytes, &len) < 0)
            fail_msg("%s", cases[i].text);
        assert_int_equal(len, strlen(cases[i].bytes));
        assert_memory_equal(bytes, cases[i].bytes, len);
    }
}

static void test_refuses_what_kubernetes_refuses(void **state)
{
    static const char *const cases[] = {"Z",        "Zg",      "Zm9",   "Zg=",   "=",
                                        "====",     "Zg===",   "Zm8==", "Zm9v=", "Z===",
                                        "Zg==Zg==", "Zg= =",   "Zm 9v", " Zm9v", "Zm9\t",
                                        "-_-_",     "Zm9\x80", "Zm8=v", "=Zm8",  "Zm9v\n="};
    uint8_t bytes[64];
    size_t len;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        if (base64_decode(cases[i], strlen(cases[i]), bytes, &len) != -EINVAL)
            fail_msg("%s", cases[i]);
}

/* Against another encoder, for every byte and every length. */
static void test_agrees_with_openssl(void **state)
{
    uint8_t bytes[256], decoded[256 + 3];
    char text[400];
    size_t len;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        int text_len = EVP_EncodeBlock((unsigned char *)text, bytes, (int)n);

        assert_true(base64_decoded_max((size_t)text_len) >= n);
        assert_int_equal(base64_decode(text, (size_t)text_len, decoded, &len), 0);
        assert_int_equal(len, n);
        assert_memory_equal(decoded, bytes, n);
    }
}

static void test_encodes_text_of_every_length(void **state)
{
    static const char *const expected[] = {"", "YQ==", "YWI=", "YWJj", "YWJjfw==", "YWJjf/8="};
    static const char text[] = "abc\x7f\xff";

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        char *part = strndup(text, i), *encoded = base64_encode_text(part);

        assert_string_equal(encoded, expected[i]);
        free(encoded);
        free(part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_as_kubernetes_does),
        cmocka_unit_test(test_refuses_what_kubernetes_refuses),
        cmocka_unit_test(test_agrees_with_openssl),
        cmocka_unit_test(test_encodes_text_of_every_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
