/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The private key of a pod certificate, made here and sent nowhere: a request for a certificate
 * holds its public half. OpenSSL keeps it on the heap, which wipes what is freed (base/heap.h).
 */
#include <stdatomic.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

struct certificate_key;

/*
 * Make a key. One of RSA4096 may take seconds.
 * @type: RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521 or ED25519
 * @is_cancelled: checked while it works; borrowed for the call
 * Thread: any.
 * Return: 0, *ret_key is the caller's; -EINVAL with @e for another type; -ECANCELED; -EIO with @e
 * when OpenSSL fails; -ENOMEM with @e.
 * Source: Y18.
 */
int certificate_key_new(const char *type, atomic_bool *is_cancelled,
                        struct certificate_key **ret_key, struct error *e);
/* Return: NULL; NULL is fine. */
struct certificate_key *certificate_key_free(struct certificate_key *key);
DEFINE_CLEANUP(struct certificate_key *, certificate_key_free)

/* A PKCS #10 request, DER in base64: an empty subject, signed with the key. Return: borrowed. */
const char *certificate_key_request(const struct certificate_key *key);

/*
 * Append the key as a PKCS #8 block in PEM.
 * Return: 0; -EFBIG beyond the limit of @pem; -ENOMEM.
 * Source: Y19.
 */
int certificate_key_print(const struct certificate_key *key, struct buf *pem);

/*
 * Append the certificates of @chain, in their order, as blocks without headers and other text.
 * @chain: PEM; its first certificate has to be the key's
 * Return: 0; -EINVAL with @e for a damaged chain, an empty one, and one of another key; -EFBIG,
 * -ENOMEM with @e.
 * Source: Y19, Y22.
 */
int certificate_key_print_chain(const struct certificate_key *key, const char *chain,
                                struct buf *pem, struct error *e);
