/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A copy of credentials that requests share as long as any of them needs it: a thousand watches
 * with the same certificate and token hold one copy of these, which is wiped with the last of them.
 */
#include "fetcher/credentials.h"

struct http_identity {
    unsigned n_refs;
    void **tree;  /* that it is found in */
    char *ca_pem; /* these may be NULL */
    char *client_cert_pem;
    char *client_key_pem;
    char *authorization; /* the header as a whole */
};

/*
 * @tree: of tsearch(3); holds no references itself
 * Return: one with the content of @material, the caller's reference; NULL for want of memory.
 */
struct http_identity *http_identity_get(void **tree, const struct credentials_material *material);

/* Return: NULL; NULL is fine. */
struct http_identity *http_identity_unref(struct http_identity *identity);
DEFINE_CLEANUP(struct http_identity *, http_identity_unref)
