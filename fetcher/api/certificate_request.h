/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * PodCertificateRequests: what is sent, what came of one, and when the next one is due. Pure
 * functions.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "cache/object.h"
#include "encoding/json.h"
#include "fetcher/certificate_key.h"

/*
 * Of a request with its status: a chain has 100 KiB at most (Y22), and JSON escapes its newlines.
 * A Node and a ServiceAccount are not longer either.
 */
#define CERTIFICATE_RESPONSE_MAX_BYTES (1u << 20)

struct certificate_request {
    const char *namespace;
    const char *service_account;
    const char *pod;
    const char *pod_uid;
    const char *signer;
    const char *key_type;
    unsigned max_expiration_s;
    const char *annotations; /* a JSON object */
};

/*
 * Parse a certificate's key. It has the service account as its name, and the rest in its detail,
 * which volume_spec_bind_pod() makes: uid, pod, signer, key type, seconds and annotations, with a
 * newline between them. Texts point into the key, or into @ret_buf.
 * @ret_buf: the caller's, for free(); NULL for want of memory
 * Return: 0; -EINVAL for another text; -ENOMEM.
 */
int certificate_request_from_key(const struct object_key *key,
                                 struct certificate_request *ret_request, char **ret_buf);

/* What the API server knows of the account and the node. */
struct certificate_request_place {
    const char *account_uid;
    const char *node;
    const char *node_uid;
};

/* The path of a POST. Return: 0, -EFBIG, -ENOMEM. */
int certificate_request_add_path(const struct certificate_request *request, struct buf *path);
/*
 * The body of the POST.
 * @csr: of certificate_key_request()
 * Return: the caller's, for cJSON_free(); NULL for want of memory. Source: Y18.
 */
char *certificate_request_body(const struct certificate_request *request,
                               const struct certificate_request_place *place, const char *csr);
/*
 * The path of a watch of one request. Without a resourceVersion the server begins with the request
 * as it is. The node authorizer demands the node's name (Y27).
 * @timeout: after which the server ends it
 * Return: 0; buf_add()'s errors.
 */
int certificate_request_add_watch_path(const struct certificate_request *request, const char *name,
                                       const char *node, span_us timeout, struct buf *path);

enum certificate_request_state {
    CERTIFICATE_PENDING,
    CERTIFICATE_ISSUED,
    CERTIFICATE_REFUSED, /* Denied or Failed: final (Y22) */
};

struct certificate_status {
    const char *chain; /* PEM, borrowed from the JSON */
    struct timespec not_before;
    struct timespec begin_refresh_at;
    struct timespec not_after;
};

/*
 * What came of a request.
 * @json: the PodCertificateRequest
 * @ret_status: set if it is issued
 * Return: a certificate_request_state, with CERTIFICATE_REFUSED the reason in @e; -EINVAL with @e
 * when one that is issued lacks a part.
 */
int certificate_request_read(const cJSON *json, struct certificate_status *ret_status,
                             struct error *e);

/*
 * The key and its certificates as one object.
 * @key: of the object
 * Return: 0, *ret_object is the caller's; -EINVAL with @e for a chain that is damaged, or of
 * another key; -ENOMEM with @e.
 */
#define CERTIFICATE_BUNDLE "credentialBundle" /* key, then chain (Y19) */
#define CERTIFICATE_KEY    "key"
#define CERTIFICATE_CHAIN  "certificateChain"
int certificate_request_object(const struct object_key *key,
                               const struct certificate_key *private_key, const char *chain,
                               struct object **ret_object, struct error *e);

/*
 * When the next certificate is requested: up to five minutes after beginRefreshAt, and not later
 * than in the middle between that and the certificate's end. Never sooner than a tenth of its
 * lifetime from @now, so that a clock that is ahead of the API server's does not cause a request
 * after the other.
 * @random: any number
 * Source: Y20.
 */
struct timespec certificate_renewal_time(const struct certificate_status *status,
                                         struct timespec now, uint64_t random);
