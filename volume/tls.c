/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/tls.h"

#include <openssl/err.h>

#include "base/openssl.h"

/* Return: a reader of the object's own memory; NULL if the key is missing, or out of memory. */
static BIO *open_value(const struct object *object, const char *key)
{
    const struct object_entry *entry = object_find(object, key);

    return entry != NULL ? BIO_new_mem_buf(entry->bytes, (int)entry->len) : NULL;
}

static void check(const struct object *object, struct tls_pair *pair)
{
    _cleanup_(bio_freep) BIO *cert_bio = open_value(object, "tls.crt");
    _cleanup_(bio_freep) BIO *key_bio = open_value(object, "tls.key");
    _cleanup_(x509_freep) X509 *x = NULL;
    _cleanup_(pkey_freep) EVP_PKEY *key = NULL;
    struct tm utc = {0};

    if (cert_bio == NULL || key_bio == NULL) {
        error_set(&pair->fault, -EINVAL, "%s is missing", cert_bio == NULL ? "tls.crt" : "tls.key");
        return;
    }
    x = PEM_read_bio_X509(cert_bio, NULL, openssl_no_passphrase, NULL);
    key = PEM_read_bio_PrivateKey(key_bio, NULL, openssl_no_passphrase, NULL);
    if (x != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(x), &utc) == 1)
        pair->not_after.tv_sec = timegm(&utc);
    if (x == NULL)
        error_set(&pair->fault, -EINVAL, "tls.crt does not begin with a complete certificate");
    else if (key == NULL)
        error_set(&pair->fault, -EINVAL,
                  "tls.key is not a complete private key without a passphrase");
    else if (X509_check_private_key(x, key) != 1)
        error_set(&pair->fault, -EINVAL, "tls.key does not belong to tls.crt");
}

void tls_pair_check(const struct object *object, struct tls_pair *ret_pair)
{
    *ret_pair = (struct tls_pair){.fault = ERROR_INIT};
    check(object, ret_pair);
    ERR_clear_error();
}

static bool is_expired(const struct tls_pair *pair, struct timespec now)
{
    return pair->not_after.tv_sec != 0 && now.tv_sec > pair->not_after.tv_sec;
}

bool tls_pair_problem(const struct tls_pair *pair, struct timespec now, struct error *e)
{
    char text[CLOCK_RFC3339_SIZE];

    if (pair->fault.text[0] != '\0')
        *e = pair->fault;
    else if (is_expired(pair, now))
        error_set(e, -EINVAL, "its certificate expired on %s",
                  clock_rfc3339(pair->not_after, text));
    else
        return false;
    return true;
}
