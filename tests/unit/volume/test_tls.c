/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/tls.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"
#include "tests/unit/make_pair.h"

#define DAY 86400

static struct object *make_secret(const char *type, const char *cert_pem, const char *key_pem)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "s"},
                                .type = type};
    struct object_input inputs[2];
    struct object *object = NULL;
    size_t n = 0;

    if (cert_pem != NULL)
        inputs[n++] =
            (struct object_input){.key = "tls.crt", .text = cert_pem, .len = strlen(cert_pem)};
    if (key_pem != NULL)
        inputs[n++] =
            (struct object_input){.key = "tls.key", .text = key_pem, .len = strlen(key_pem)};
    assert_int_equal(object_new(&like, inputs, n, &object, NULL), 0);
    return object;
}

/* The problem of a pair, "" if it has none. */
static struct error problem_of(const char *cert_pem, const char *key_pem, time_t after)
{
    struct object *object = make_secret(TLS_TYPE, cert_pem, key_pem);
    struct timespec now = clock_wall();
    struct error e = ERROR_INIT;
    struct tls_pair pair;

    assert_true(tls_is_pair(object));
    tls_pair_check(object, &pair);
    object_unref(object);
    now.tv_sec += after;
    if (!tls_pair_problem(&pair, now, &e))
        assert_string_equal(e.text, "");
    return e;
}

static void good_pair(void **state)
{
    struct made_pair pair = pair_make(DAY);

    assert_string_equal(problem_of(pair.cert_pem, pair.key_pem, 0).text, "");
    assert_string_equal(problem_of(pair.cert_pem, pair.key_pem, DAY - 60).text, "");
    pair_unmake(&pair);
}

static void expired_pair(void **state)
{
    struct made_pair pair = pair_make(-1);

    assert_non_null(strstr(problem_of(pair.cert_pem, pair.key_pem, 0).text, "expired on 20"));
    pair_unmake(&pair);
    pair = pair_make(DAY);
    assert_non_null(strstr(problem_of(pair.cert_pem, pair.key_pem, DAY + 60).text, "expired on"));
    pair_unmake(&pair);
}

static void mismatched_pair_is_reported(void **state)
{
    struct made_pair one = pair_make(DAY), two = pair_make(DAY);

    assert_string_equal(problem_of(one.cert_pem, two.key_pem, 0).text,
                        "tls.key does not belong to tls.crt");
    assert_string_equal(problem_of(NULL, one.key_pem, 0).text, "tls.crt is missing");
    assert_string_equal(problem_of(one.cert_pem, NULL, 0).text, "tls.key is missing");
    assert_non_null(strstr(problem_of("", one.key_pem, 0).text, "tls.crt does not begin"));
    assert_non_null(strstr(problem_of(one.cert_pem, "x", 0).text, "tls.key is not a complete"));
    one.cert_pem[strlen(one.cert_pem) / 2] = '\0';
    assert_non_null(strstr(problem_of(one.cert_pem, one.key_pem, 0).text, "tls.crt does not"));
    pair_unmake(&one);
    pair_unmake(&two);
}

/* A readable certificate has an expiry, with any key. */
static void expiry_is_known(void **state)
{
    struct made_pair one = pair_make(DAY);
    struct object *object = make_secret(TLS_TYPE, one.cert_pem, "x");
    time_t now = clock_wall().tv_sec;
    struct tls_pair pair;

    tls_pair_check(object, &pair);
    assert_between(pair.not_after.tv_sec, now + DAY - 60, now + DAY + 60);
    object_unref(object);
    pair_unmake(&one);
}

static void other_types_are_left_alone(void **state)
{
    struct object *object = make_secret("Opaque", "x", "x");

    assert_false(tls_is_pair(object));
    object_unref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_pair),
        cmocka_unit_test(expired_pair),
        cmocka_unit_test(mismatched_pair_is_reported),
        cmocka_unit_test(expiry_is_known),
        cmocka_unit_test(other_types_are_left_alone),
    };

    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
