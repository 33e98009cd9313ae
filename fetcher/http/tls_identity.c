/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/tls_identity.h"

#include <search.h>
#include <stdio.h>

#include "fetcher/auth/authorization.h"

#define HEADER "Authorization: "

static int compare_texts(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return (a != NULL) - (b != NULL);
    return strcmp(a, b);
}

static int compare(const void *a, const void *b)
{
    const struct tls_identity *x = a, *y = b;
    int r = compare_texts(x->authorization, y->authorization);

    if (r == 0)
        r = compare_texts(x->ca_pem, y->ca_pem);
    if (r == 0)
        r = compare_texts(x->client_cert_pem, y->client_cert_pem);
    return r == 0 ? compare_texts(x->client_key_pem, y->client_key_pem) : r;
}

static void identity_free(struct tls_identity *identity)
{
    if (identity == NULL)
        return;
    free(identity->ca_pem);
    free(identity->client_cert_pem);
    secret_text_free(identity->client_key_pem);
    secret_text_free(identity->authorization);
    free(identity);
}

static inline void identity_freep(struct tls_identity **identity)
{
    identity_free(*identity);
}

/* Return: whether there was memory for it; NULL is copied, too. */
static bool copy_text(char **ret_copy, const char *text)
{
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

static struct tls_identity *identity_new(const struct credentials_snapshot *snapshot)
{
    _cleanup_(identity_freep) struct tls_identity *identity = calloc(1, sizeof(*identity));

    if (identity == NULL || !copy_text(&identity->ca_pem, snapshot->ca_pem) ||
        !copy_text(&identity->client_cert_pem, snapshot->client_cert_pem) ||
        !copy_text(&identity->client_key_pem, snapshot->client_key_pem))
        return NULL;
    if (snapshot->authorization != NULL &&
        asprintf(&identity->authorization, HEADER "%s", snapshot->authorization) < 0) {
        identity->authorization = NULL;
        return NULL;
    }
    return TAKE(identity);
}

struct tls_identity *tls_identity_get(void **tree, const struct credentials_snapshot *snapshot)
{
    _cleanup_(identity_freep) struct tls_identity *fresh = identity_new(snapshot);
    struct tls_identity *const *found;

    if (fresh == NULL)
        return NULL;
    found = tsearch(fresh, tree, compare);
    if (found == NULL)
        return NULL;
    if (*found == fresh) {
        fresh->tree = tree;
        fresh->n_refs = 1;
        return TAKE(fresh);
    }
    (*found)->n_refs++;
    return *found;
}

struct tls_identity *tls_identity_unref(struct tls_identity *identity)
{
    if (identity == NULL || --identity->n_refs > 0)
        return NULL;
    tdelete(identity, identity->tree, compare);
    identity_free(identity);
    return NULL;
}
