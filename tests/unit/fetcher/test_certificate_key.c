/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/certificate_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/openssl.h"

static struct certificate_key *make(const char *type)
{
    atomic_bool is_cancelled = false;
    struct certificate_key *key = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(certificate_key_new(type, &is_cancelled, &key, &e), 0);
    return key;
}

/* The request as a signer reads it. */
static X509_REQ *read_request(const struct certificate_key *key)
{
    const char *text = certificate_key_request(key);
    uint8_t der[2048];
    const uint8_t *at = der;
    X509_REQ *request;
    int len = (int)strlen(text);

    assert_true((size_t)len < sizeof(der));
    len = EVP_DecodeBlock(der, (const uint8_t *)text, len);
    assert_true(len > 0);
    request = d2i_X509_REQ(NULL, &at, len);
    assert_non_null(request);
    return request;
}

static EVP_PKEY *read_key(const struct certificate_key *key)
{
    struct buf pem = BUF_INIT(16384);
    EVP_PKEY *pkey;
    BIO *bio;

    assert_int_equal(certificate_key_print(key, &pem), 0);
    assert_non_null(str_after(buf_text(&pem), "-----BEGIN PRIVATE KEY-----\n"));
    bio = BIO_new_mem_buf(buf_text(&pem), (int)pem.len);
    pkey = PEM_read_bio_PrivateKey(bio, NULL, openssl_no_passphrase, NULL);
    assert_non_null(pkey);
    BIO_free(bio);
    buf_deinit(&pem);
    return pkey;
}

/* Y18: an empty subject, and a signature that the key's public half verifies. */
static void test_types(void **state)
{
    static const struct {
        const char *type;
        int id, bits;
    } types[] = {
        {"RSA3072", EVP_PKEY_RSA, 3072},    {"ECDSAP256", EVP_PKEY_EC, 256},
        {"ECDSAP384", EVP_PKEY_EC, 384},    {"ECDSAP521", EVP_PKEY_EC, 521},
        {"ED25519", EVP_PKEY_ED25519, 256},
    };

    for (size_t i = 0; i < ELEMENTS_OF(types); i++) {
        struct certificate_key *key = make(types[i].type);
        X509_REQ *request = read_request(key);
        EVP_PKEY *pkey = read_key(key);

        assert_int_equal(EVP_PKEY_get_base_id(pkey), types[i].id);
        if (types[i].id != EVP_PKEY_ED25519)
            assert_int_equal(EVP_PKEY_get_bits(pkey), types[i].bits);
        assert_int_equal(X509_REQ_verify(request, pkey), 1);
        assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(request)), 0);
        assert_int_equal(EVP_PKEY_eq(X509_REQ_get0_pubkey(request), pkey), 1);
        EVP_PKEY_free(pkey);
        X509_REQ_free(request);
        certificate_key_free(key);
    }
}

static void test_unknown_type(void **state)
{
    atomic_bool is_cancelled = false;
    struct certificate_key *key = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(certificate_key_new("DSA", &is_cancelled, &key, &e), -EINVAL);
    assert_string_equal(e.text, "invalid key type \"DSA\"");
}

static void test_cancelled(void **state)
{
    atomic_bool is_cancelled = true;
    struct certificate_key *key = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(certificate_key_new("RSA4096", &is_cancelled, &key, &e), -ECANCELED);
}

/* ---- chains */

/* A certificate of the public half of @key, signed by @signer; in PEM. */
static void add_certificate(const struct certificate_key *key, EVP_PKEY *signer, struct buf *pem)
{
    X509_REQ *request = read_request(key);
    X509 *x = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;

    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    assert_int_equal(X509_set_pubkey(x, X509_REQ_get0_pubkey(request)), 1);
    assert_true(X509_sign(x, signer, NULL) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    len = BIO_get_mem_data(bio, &text);
    assert_int_equal(buf_add(pem, text, (size_t)len), 0);
    BIO_free(bio);
    X509_free(x);
    X509_REQ_free(request);
}

struct chain {
    struct certificate_key *key, *other;
    struct buf leaf, parent, text, printed;
};

static int set_up(void **state)
{
    struct chain *c = calloc(1, sizeof(*c));
    EVP_PKEY *signer;

    assert_non_null(c);
    c->key = make("ED25519");
    c->other = make("ED25519");
    c->leaf = c->parent = c->text = c->printed = BUF_INIT(65536);
    signer = read_key(c->other);
    add_certificate(c->key, signer, &c->leaf);
    add_certificate(c->other, signer, &c->parent);
    EVP_PKEY_free(signer);
    *state = c;
    return 0;
}

static int tear_down(void **state)
{
    struct chain *c = *state;

    certificate_key_free(c->key);
    certificate_key_free(c->other);
    buf_deinit(&c->leaf);
    buf_deinit(&c->parent);
    buf_deinit(&c->text);
    buf_deinit(&c->printed);
    free(c);
    return 0;
}

/* Y19: leaf first, and nothing between the blocks. */
static void test_chain(void **state)
{
    struct chain *c = *state;
    struct error e = ERROR_INIT;

    assert_int_equal(
        buf_addf(&c->text, "# leaf\n%s# parent\n%s", buf_text(&c->leaf), buf_text(&c->parent)), 0);
    assert_int_equal(certificate_key_print_chain(c->key, buf_text(&c->text), &c->printed, &e), 0);
    buf_reset(&c->text);
    assert_int_equal(buf_addf(&c->text, "%s%s", buf_text(&c->leaf), buf_text(&c->parent)), 0);
    assert_string_equal(buf_text(&c->printed), buf_text(&c->text));
}

static void check_refused(struct chain *c, const char *text, const char *message)
{
    struct error e = ERROR_INIT;

    assert_int_equal(certificate_key_print_chain(c->key, text, &c->printed, &e), -EINVAL);
    assert_non_null(strstr(e.text, message));
    assert_int_equal(c->printed.len, 0);
}

static void test_refused_chains(void **state)
{
    struct chain *c = *state;

    check_refused(c, "", "the certificate chain is empty");
    check_refused(c, "no PEM", "the certificate chain is empty");
    check_refused(c, buf_text(&c->parent), "issued for another key");
    assert_int_equal(buf_addf(&c->text,
                              "%s-----BEGIN CERTIFICATE-----\nAAAA\n"
                              "-----END CERTIFICATE-----\n",
                              buf_text(&c->leaf)),
                     0);
    check_refused(c, buf_text(&c->text), "damaged or incomplete");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_unknown_type),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test_setup_teardown(test_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_chains, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
