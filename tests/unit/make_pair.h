/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Client certificates for tests: self-signed, with a key of their own each. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

struct made_pair {
    char *cert_pem;
    char *key_pem;
};

static inline char *bio_to_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)len);

    (void)BIO_free(bio);
    return text;
}

/* @seconds: from now until it ends. Return: what pair_unmake() releases. */
static inline struct made_pair pair_make(long seconds)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *cert_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());

    (void)ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), seconds);
    (void)X509_set_pubkey(x, key);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                     (const unsigned char *)"dummy", -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(x));
    (void)X509_sign(x, key, EVP_sha256());
    (void)PEM_write_bio_X509(cert_bio, x);
    (void)PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL);
    X509_free(x);
    EVP_PKEY_free(key);
    return (struct made_pair){.cert_pem = bio_to_text(cert_bio), .key_pem = bio_to_text(key_bio)};
}

static inline void pair_unmake(struct made_pair *pair)
{
    free(pair->cert_pem);
    free(pair->key_pem);
}
