/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Cleanup functions for OpenSSL's certificates and keys, and its queue of errors. */
#include <errno.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static inline void bio_freep(BIO **bio)
{
    (void)BIO_free(*bio);
}

static inline void x509_freep(X509 **x)
{
    X509_free(*x);
}

static inline void pkey_freep(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/* For reading PEM: without it OpenSSL would ask for a passphrase on the terminal. */
static inline int openssl_no_passphrase(char *buf, int size, int is_writing, void *userdata)
{
    return -1;
}

/* Empty the thread's queue of errors. Return: 0; -ENOMEM if memory was one of them. */
static inline int openssl_clear_errors(void)
{
    unsigned long code;
    int r = 0;

    while ((code = ERR_get_error()) != 0)
        if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
            r = -ENOMEM;
    return r;
}
