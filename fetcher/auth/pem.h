/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What credentials are made of: is it whole, does it fit together, and how does a request carry it.
 * Messages never hold any of it.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* Return: 0; -EINVAL with @e unless @pem is certificates, at least one, all of them whole. */
int material_check_authorities(const char *pem, struct error *e);

/*
 * @ret_expiry: the end of the first certificate's validity
 * Return: 0; -EINVAL with @e for what is no certificate or no key, and for a pair that does not
 * belong together, as when one file of two has been replaced.
 */
int material_check_pair(const char *cert_pem, const char *key_pem, struct timespec *ret_expiry,
                        struct error *e);

/*
 * The values of Authorization headers. White space around @token is left out.
 * Return: 0, *ret_authorization is the caller's; -EINVAL with @e for what no header can carry;
 * -ENOMEM.
 */
int material_bearer(const char *token, char **ret_authorization, struct error *e);
int material_basic(const char *username, const char *password, char **ret_authorization,
                   struct error *e);

/* Wipe and free a text such as these. NULL is fine. */
static inline void secret_text_free(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

static inline void secret_text_freep(char **text)
{
    secret_text_free(*text);
}

/* Return: the base64 of @text on one line, the caller's; NULL for want of memory. */
char *material_base64(const char *text);
