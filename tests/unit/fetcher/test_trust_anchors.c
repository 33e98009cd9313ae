/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/trust_anchors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/make_pair.h"

#define BLOCK(type, base64) "-----BEGIN " type "-----\n" base64 "\n-----END " type "-----\n"
#define ONE                 BLOCK("CERTIFICATE", "YQ==") /* "a" */
#define TWO                 BLOCK("CERTIFICATE", "YWI=") /* "ab" */
#define THREE               BLOCK("CERTIFICATE", "Yg==") /* "b" */

/* All of @texts, as one. */
static void check(const char *const *texts, size_t n, const char *expected)
{
    struct trust_anchors anchors = {0};
    struct buf pem = BUF_INIT(10000);
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < n; i++)
        assert_int_equal(trust_anchors_add(&anchors, texts[i], &e), 0);
    assert_int_equal(trust_anchors_print(&anchors, &pem), 0);
    assert_string_equal(buf_text(&pem), expected);
    buf_deinit(&pem);
    trust_anchors_deinit(&anchors);
}

/* Y16, but for the order */
static void test_each_once_and_sorted(void **state)
{
    check((const char *const[]){THREE ONE, TWO ONE}, 2, ONE TWO THREE);
    check((const char *const[]){TWO, ONE THREE ONE THREE}, 2, ONE TWO THREE);
}

static void test_nothing_but_the_bytes_counts(void **state)
{
    static const char text[] = "A comment\n" BLOCK(
        "TRUSTED CERTIFICATE",
        "YQ==") "between\n"
                "-----BEGIN X-----\nSome: header\n\nYg==\n-----END X-----\nafter";

    check((const char *const[]){text}, 1, ONE THREE);
}

/* As OpenSSL and Go write it. */
static void test_64_columns(void **state)
{
    struct made_pair pair = pair_make(60);

    check((const char *const[]){pair.cert_pem}, 1, pair.cert_pem);
    pair_unmake(&pair);
}

static void test_damaged(void **state)
{
    static const struct {
        const char *pem;
        const char *error;
    } cases[] = {
        {"", "no certificate"},
        {"text", "no certificate"},
        {ONE "-----BEGIN CERTIFICATE-----\nYQ==\n", "certificate 2 is damaged"},
        {"-----BEGIN CERTIFICATE-----\nYQ==\n-----END KEY-----\n", "certificate 1 is damaged"},
        {"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
         "certificate 1 is damaged"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct trust_anchors anchors = {0};
        struct error e = ERROR_INIT;

        assert_int_equal(trust_anchors_add(&anchors, cases[i].pem, &e), -EINVAL);
        assert_non_null(strstr(e.text, cases[i].error));
        trust_anchors_deinit(&anchors);
    }
}

static void test_limit(void **state)
{
    struct trust_anchors anchors = {0};
    struct buf pem = BUF_INIT(sizeof(ONE));
    struct error e = ERROR_INIT;

    assert_int_equal(trust_anchors_add(&anchors, ONE THREE, &e), 0);
    assert_int_equal(trust_anchors_print(&anchors, &pem), -EFBIG);
    buf_deinit(&pem);
    trust_anchors_deinit(&anchors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once_and_sorted),
        cmocka_unit_test(test_nothing_but_the_bytes_counts),
        cmocka_unit_test(test_64_columns),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
