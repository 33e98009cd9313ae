/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What all requests of one HTTP client share: libcurl's multi handle, the server's URL and common
 * headers, connections, the rate limit, and counters. For the files of the HTTP client only.
 *
 * Thread: the event loop's.
 */
#include <curl/curl.h>

#include "fetcher/auth/api_config.h"
#include "fetcher/http/connections.h"
#include "fetcher/http/rate_limit.h"
#include "fetcher/http/stats.h"

struct http_request;

struct http_transport {
    const struct api_config *config;
    CURLM *multi;
    char *base_url;                /* config's server, with the name that TLS verifies */
    struct curl_slist *connect_to; /* the server's address, if that name is another one */
    struct curl_slist *headers;    /* of every request, without Authorization and Accept */
    void *identities;              /* tsearch(3) tree of struct tls_identity */

    struct http_connections connections;
    struct rate_limit rate_limit;
    struct http_stats stats;

    struct list unsent;   /* of struct http_request: libcurl has them and has not sent them */
    struct list sent;     /* of struct http_request: libcurl has sent them, no response has come */
    struct list answered; /* of struct http_request: responses have begun */
    size_t n_active;      /* in the three lists */
    size_t n_unanswered;  /* those of them without a response */
    /* the request that opens another connection; NULL: none does */
    const struct http_request *connection_opener;

    unsigned n_calls;          /* nesting of calls into libcurl */
    unsigned long n_callbacks; /* of requests, ever: curl_quirks.c compares it */
};

/*
 * @transport: zeroed; to be given to http_transport_deinit(), on failure too
 * @config: borrowed, outlives it
 * Return: 0; -EINVAL with @e for a server that is not an http or https URL, or for names to
 * impersonate that a header cannot carry; -ENOMEM with @e.
 */
int http_transport_init(struct http_transport *transport, const struct api_config *config,
                        struct error *e);
/* All its requests must have been freed. Of a zeroed one: nothing happens. */
void http_transport_deinit(struct http_transport *transport);
