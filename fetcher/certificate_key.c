/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/certificate_key.h"

#include <openssl/rsa.h>

#include "base/openssl.h"

struct certificate_key {
    EVP_PKEY *pkey;
    char *request;
};

/* How each type is made, and what its request is signed with: what Go's crypto/x509 chooses. */
static const struct key_type {
    const char *word;
    const char *algorithm;
    const char *group;  /* of an elliptic curve; or NULL */
    unsigned bits;      /* of RSA; or 0 */
    const char *digest; /* NULL: the algorithm has its own */
} types[] = {
    {"RSA3072", "RSA", NULL, 3072, "SHA256"},  {"RSA4096", "RSA", NULL, 4096, "SHA256"},
    {"ECDSAP256", "EC", "P-256", 0, "SHA256"}, {"ECDSAP384", "EC", "P-384", 0, "SHA384"},
    {"ECDSAP521", "EC", "P-521", 0, "SHA512"}, {"ED25519", "ED25519", NULL, 0, NULL},
};

static const struct key_type *find_type(const char *word)
{
    for (size_t i = 0; i < ELEMENTS_OF(types); i++)
        if (streq(types[i].word, word))
            return &types[i];
    return NULL;
}

static void pkey_ctx_freep(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static void x509_req_freep(X509_REQ **request)
{
    X509_REQ_free(*request);
}

/* Empty OpenSSL's queue, whose texts mean nothing to a user. Return: -ENOMEM or -EIO. */
static int take_failure(void)
{
    return openssl_clear_errors() < 0 ? -ENOMEM : -EIO;
}

/* ---- making */

/* OpenSSL calls it again and again while it looks for primes. Return: whether to continue. */
static int on_progress(EVP_PKEY_CTX *ctx)
{
    const atomic_bool *is_cancelled = EVP_PKEY_CTX_get_app_data(ctx);

    return !atomic_load(is_cancelled);
}

static int generate(const struct key_type *type, atomic_bool *is_cancelled, EVP_PKEY **ret_pkey)
{
    _cleanup_(pkey_ctx_freep) EVP_PKEY_CTX *ctx =
        EVP_PKEY_CTX_new_from_name(NULL, type->algorithm, NULL);
    bool is_set = ctx != NULL && EVP_PKEY_keygen_init(ctx) > 0;
    int r;

    if (is_set && type->bits > 0)
        is_set = EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)type->bits) > 0;
    if (is_set && type->group != NULL)
        is_set = EVP_PKEY_CTX_set_group_name(ctx, type->group) > 0;
    if (!is_set)
        return take_failure();
    EVP_PKEY_CTX_set_app_data(ctx, is_cancelled);
    EVP_PKEY_CTX_set_cb(ctx, on_progress);
    if (EVP_PKEY_generate(ctx, ret_pkey) > 0)
        return 0;
    r = take_failure();
    return atomic_load(is_cancelled) ? -ECANCELED : r;
}

/* ---- the request */

static int sign_request(EVP_PKEY *pkey, const struct key_type *type, X509_REQ *request)
{
    const EVP_MD *digest = type->digest != NULL ? EVP_get_digestbyname(type->digest) : NULL;

    if (X509_REQ_set_version(request, 0) <= 0 || X509_REQ_set_pubkey(request, pkey) <= 0 ||
        X509_REQ_sign(request, pkey, digest) <= 0)
        return take_failure();
    return 0;
}

/* @ret_text: the caller's, for free() */
static int encode_request(X509_REQ *request, char **ret_text)
{
    uint8_t *der = NULL;
    int len = i2d_X509_REQ(request, &der);
    char *text;

    if (len < 0)
        return take_failure();
    text = malloc((size_t)len * 4 / 3 + 5);
    if (text != NULL)
        EVP_EncodeBlock((uint8_t *)text, der, len);
    OPENSSL_free(der);
    *ret_text = text;
    return text != NULL ? 0 : -ENOMEM;
}

static int make_request(EVP_PKEY *pkey, const struct key_type *type, char **ret_text)
{
    _cleanup_(x509_req_freep) X509_REQ *request = X509_REQ_new();
    int r = request != NULL ? sign_request(pkey, type, request) : take_failure();

    return r < 0 ? r : encode_request(request, ret_text);
}

/* ---- the object */

struct certificate_key *certificate_key_free(struct certificate_key *key)
{
    if (key == NULL)
        return NULL;
    EVP_PKEY_free(key->pkey);
    free(key->request);
    free(key);
    return NULL;
}

int certificate_key_new(const char *type, atomic_bool *is_cancelled,
                        struct certificate_key **ret_key, struct error *e)
{
    _cleanup_(certificate_key_freep) struct certificate_key *key = calloc(1, sizeof(*key));
    const struct key_type *found = find_type(type);
    int r;

    if (found == NULL)
        return error_set(e, -EINVAL, "invalid key type \"%.32s\"", type);
    if (key == NULL)
        return error_set_errno(e, -ENOMEM, "cannot make a key");
    r = generate(found, is_cancelled, &key->pkey);
    if (r == 0)
        r = make_request(key->pkey, found, &key->request);
    if (r < 0)
        return error_set(e, r, "OpenSSL cannot make a key of type %s: %s", type, strerror(-r));
    *ret_key = TAKE(key);
    return 0;
}

const char *certificate_key_request(const struct certificate_key *key)
{
    return key->request;
}

/* ---- printing */

static int add_text_of(BIO *bio, struct buf *pem)
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);

    return buf_add(pem, text, (size_t)len);
}

int certificate_key_print(const struct certificate_key *key, struct buf *pem)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());

    if (bio == NULL ||
        PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) <= 0)
        return take_failure();
    return add_text_of(bio, pem);
}

/* Return: 1; 0 at the end; -EINVAL, -ENOMEM. */
static int read_certificate(BIO *bio, X509 **ret_certificate)
{
    bool is_end;

    *ret_certificate = PEM_read_bio_X509(bio, NULL, openssl_no_passphrase, NULL);
    if (*ret_certificate != NULL)
        return 1;
    is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (openssl_clear_errors() < 0)
        return -ENOMEM;
    return is_end ? 0 : -EINVAL;
}

/* Print the next certificate. Return: as read_certificate(). */
static int copy_certificate(const struct certificate_key *key, BIO *from, bool is_first, BIO *to,
                            struct error *e)
{
    _cleanup_(x509_freep) X509 *certificate = NULL;
    int r = read_certificate(from, &certificate);

    if (r == -EINVAL)
        return error_set(e, r, "the certificate chain is damaged or incomplete");
    if (r <= 0)
        return r;
    if (is_first && X509_check_private_key(certificate, key->pkey) != 1) {
        ERR_clear_error();
        return error_set(e, -EINVAL, "the certificate was issued for another key");
    }
    return PEM_write_bio_X509(to, certificate) > 0 ? 1 : take_failure();
}

int certificate_key_print_chain(const struct certificate_key *key, const char *chain,
                                struct buf *pem, struct error *e)
{
    _cleanup_(bio_freep) BIO *from = BIO_new_mem_buf(chain, -1);
    _cleanup_(bio_freep) BIO *to = BIO_new(BIO_s_mem());
    size_t n = 0;
    int r = from != NULL && to != NULL ? 1 : take_failure();

    while (r > 0) {
        r = copy_certificate(key, from, n == 0, to, e);
        n += r > 0;
    }
    if (r == 0 && n == 0)
        return error_set(e, -EINVAL, "the certificate chain is empty");
    if (r == 0)
        r = add_text_of(to, pem);
    return r < 0 && r != -EINVAL ? error_set_errno(e, r, "cannot read the certificate chain") : r;
}
