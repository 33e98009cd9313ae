/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/pem.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/openssl.h"

static X509 *read_certificate(BIO *bio)
{
    return PEM_read_bio_X509(bio, NULL, openssl_no_passphrase, NULL);
}

int pem_check_authorities(const char *pem, struct error *e)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
    unsigned n = 0;
    bool is_end;

    if (bio == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read certificates");
    for (;;) {
        _cleanup_(x509_freep) X509 *x = read_certificate(bio);

        if (x == NULL)
            break;
        n++;
    }
    is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (openssl_clear_errors() < 0)
        return error_set_errno(e, -ENOMEM, "cannot read certificates");
    if (!is_end)
        return error_set(e, -EINVAL, "certificate %u is damaged or incomplete", n + 1);
    if (n == 0)
        return error_set(e, -EINVAL, "it contains no certificate in PEM");
    return 0;
}

static int certificate_expiry(const X509 *x, struct timespec *ret_expiry)
{
    struct tm utc = {0};

    if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &utc) != 1)
        return -EINVAL;
    *ret_expiry = (struct timespec){.tv_sec = timegm(&utc)};
    return 0;
}

static int check_pair(X509 *x, EVP_PKEY *key, bool is_encrypted, struct timespec *ret_expiry,
                      struct error *e)
{
    if (x == NULL)
        return error_set(e, -EINVAL, "the client certificate is damaged, incomplete or not PEM");
    if (key == NULL)
        return error_set(e, -EINVAL, "%s",
                         is_encrypted ? "the client key is encrypted: give it without a passphrase"
                                      : "the client key is damaged, incomplete or not PEM");
    if (X509_check_private_key(x, key) != 1)
        return error_set(e, -EINVAL, "the client key does not belong to the client certificate");
    if (certificate_expiry(x, ret_expiry) < 0)
        return error_set(e, -EINVAL, "the client certificate has no valid end date");
    return 0;
}

int pem_check_pair(const char *cert_pem, const char *key_pem, struct timespec *ret_expiry,
                   struct error *e)
{
    _cleanup_(bio_freep) BIO *cert_bio = BIO_new_mem_buf(cert_pem, -1);
    _cleanup_(bio_freep) BIO *key_bio = BIO_new_mem_buf(key_pem, -1);
    _cleanup_(x509_freep) X509 *x = NULL;
    _cleanup_(pkey_freep) EVP_PKEY *key = NULL;
    bool is_encrypted;
    int r;

    if (cert_bio == NULL || key_bio == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the client certificate");
    x = read_certificate(cert_bio);
    r = openssl_clear_errors();
    key = PEM_read_bio_PrivateKey(key_bio, NULL, openssl_no_passphrase, NULL);
    is_encrypted = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ;
    if (openssl_clear_errors() < 0 || r < 0)
        return error_set_errno(e, -ENOMEM, "cannot read the client certificate");
    r = check_pair(x, key, is_encrypted, ret_expiry, e);
    ERR_clear_error();
    return r;
}
