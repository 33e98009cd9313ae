/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/pem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/unit/assert_between.h"
#include "tests/unit/make_pair.h"

struct pairs {
    struct made_pair a;
    struct made_pair b;
};

static char *join(const char *a, const char *b)
{
    char *joined;

    assert_true(asprintf(&joined, "%s%s", a, b) >= 0);
    return joined;
}

static void assert_has(const struct error *e, const char *part)
{
    if (strstr(e->text, part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", e->text, part);
}

static void test_authorities(void **state)
{
    const struct pairs *p = *state;
    _cleanup_(freep) char *both = join(p->a.cert_pem, p->b.cert_pem);
    _cleanup_(freep) char *mixed = join(p->a.key_pem, p->b.cert_pem);
    _cleanup_(freep) char *half = strndup(both, strlen(both) - 40);
    struct error e = ERROR_INIT;

    assert_int_equal(pem_check_authorities(both, &e), 0);
    assert_int_equal(pem_check_authorities(mixed, &e), 0);
    assert_int_equal(pem_check_authorities(half, &e), -EINVAL);
    assert_has(&e, "certificate 2");
    assert_int_equal(pem_check_authorities("dummy", &e), -EINVAL);
    assert_has(&e, "PEM");
    assert_int_equal(pem_check_authorities("", &e), -EINVAL);
}

static void test_pair(void **state)
{
    const struct pairs *p = *state;
    /* the kubelet's file has the certificate first, others the key */
    _cleanup_(freep) char *cert_first = join(p->a.cert_pem, p->a.key_pem);
    _cleanup_(freep) char *key_first = join(p->a.key_pem, p->a.cert_pem);
    struct timespec expiry = {0}, now = clock_wall();
    struct error e = ERROR_INIT;

    assert_int_equal(pem_check_pair(p->a.cert_pem, p->a.key_pem, &expiry, &e), 0);
    assert_between(expiry.tv_sec - now.tv_sec, 3500, 3600);
    assert_int_equal(pem_check_pair(cert_first, cert_first, &expiry, &e), 0);
    assert_int_equal(pem_check_pair(key_first, key_first, &expiry, &e), 0);
}

static void test_bad_pair(void **state)
{
    const struct pairs *p = *state;
    _cleanup_(freep) char *half_cert = strndup(p->a.cert_pem, strlen(p->a.cert_pem) - 40);
    _cleanup_(freep) char *half_key = strndup(p->a.key_pem, strlen(p->a.key_pem) - 40);
    struct timespec expiry;
    struct error e = ERROR_INIT;

    assert_int_equal(pem_check_pair(p->a.cert_pem, p->b.key_pem, &expiry, &e), -EINVAL);
    assert_has(&e, "does not belong");
    assert_int_equal(pem_check_pair(half_cert, p->a.key_pem, &expiry, &e), -EINVAL);
    assert_has(&e, "certificate is damaged");
    assert_int_equal(pem_check_pair(p->a.cert_pem, half_key, &expiry, &e), -EINVAL);
    assert_has(&e, "key is damaged");
}

static void test_encrypted_key(void **state)
{
    const struct pairs *p = *state;
    BIO *in = BIO_new_mem_buf(p->a.key_pem, -1), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    _cleanup_(freep) char *encrypted = NULL;
    struct timespec expiry;
    struct error e = ERROR_INIT;

    assert_int_equal(PEM_write_bio_PrivateKey(out, key, EVP_aes_128_cbc(),
                                              (const unsigned char *)"dummy", 5, NULL, NULL),
                     1);
    encrypted = bio_to_text(out);
    (void)BIO_free(in);
    EVP_PKEY_free(key);
    assert_int_equal(pem_check_pair(p->a.cert_pem, encrypted, &expiry, &e), -EINVAL);
    assert_has(&e, "passphrase");
}

static int setup(void **state)
{
    struct pairs *p = calloc(1, sizeof(*p));

    p->a = pair_make(3600);
    p->b = pair_make(3600);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pairs *p = *state;

    pair_unmake(&p->a);
    pair_unmake(&p->b);
    free(p);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_bad_pair),
        cmocka_unit_test(test_encrypted_key),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
