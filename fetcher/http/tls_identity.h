/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One copy of credentials for all requests that are made with them: a thousand watches with the
 * same certificate and token share it. It is wiped with the last of them.
 */
#include "fetcher/auth/credentials.h"

struct tls_identity {
    unsigned n_refs;
    void **tree;  /* that contains it */
    char *ca_pem; /* this and the next ones may be NULL */
    char *client_cert_pem;
    char *client_key_pem;
    char *authorization; /* the header as a whole */
};

/*
 * @tree: of tsearch(3); holds no references itself
 * Return: the identity with the content of @snapshot, the caller's reference; NULL for want of
 * memory.
 */
struct tls_identity *tls_identity_get(void **tree, const struct credentials_snapshot *snapshot);

/* Return: NULL; NULL is fine. */
struct tls_identity *tls_identity_unref(struct tls_identity *identity);
DEFINE_CLEANUP(struct tls_identity *, tls_identity_unref)
