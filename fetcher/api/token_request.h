/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Requests for tokens of service accounts, which are bound to a pod: the request, the response, and
 * when the next one is due. Pure functions.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "cache/object.h"

/* A token with the claims of a pod has some 1,200 bytes. */
#define TOKEN_REQUEST_MAX_BYTES 65536

struct token_request {
    const char *namespace;
    const char *service_account;
    const char *pod;
    const char *pod_uid;
    const char *audience; /* "": the API server's own */
    unsigned expiration_s;
};

/*
 * Parse a token's key. It has the service account as its name, and the rest in its detail, which
 * volume_spec_bind_pod() makes: uid, pod, seconds and audience, with a newline between them. The
 * audience is last, as it may have any bytes. Texts point into the key, or into @ret_buf.
 * @ret_buf: the caller's, for free(); NULL for want of memory
 * Return: 0; -EINVAL for another text; -ENOMEM.
 */
int token_request_from_key(const struct object_key *key, struct token_request *ret_request,
                           char **ret_buf);

/* The path of a POST. Return: 0, -EFBIG, -ENOMEM. */
int token_request_add_path(const struct token_request *request, struct buf *path);
/* Its body. Return: the caller's, for cJSON_free(); NULL for want of memory. Source: Y8. */
char *token_request_body(const struct token_request *request);

struct issued_token {
    struct object *object; /* with one entry, TOKEN_KEY */
    struct timespec expires_at;
    span_us lifetime; /* of the token when it was issued */
};

/*
 * Parse the response.
 * @key: of the object
 * Return: 0, ret_token->object is the caller's reference; -EINVAL with @e; -ENOMEM.
 */
#define TOKEN_KEY "token"
int token_request_parse(const struct object_key *key, const char *text, size_t len,
                        struct issued_token *ret_token, struct error *e);

/*
 * How long after @now the token is replaced: at 80 % of its lifetime or at an age of 24 hours,
 * if that is sooner, and up to 9 seconds earlier. Never sooner than after a tenth of the lifetime,
 * so that a clock that is ahead of the API server's does not cause a request after the other.
 * @random: any number
 * Source: Y11.
 */
span_us token_renewal_delay(const struct issued_token *token, struct timespec now, uint64_t random);
