/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Values of Authorization headers. Messages never contain a token or a password. */
#include "base/cleanup.h"
#include "base/error.h"

/*
 * @token: white space around it is dropped
 * Return: 0, *ret_authorization is the caller's; -EINVAL with @e for bytes that a header cannot
 * carry; -ENOMEM with @e.
 */
int authorization_bearer(const char *token, char **ret_authorization, struct error *e);
/* Return: as above, without -EINVAL. */
int authorization_basic(const char *username, const char *password, char **ret_authorization,
                        struct error *e);

/* Wipe and free such a text. NULL is fine. */
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
