/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The client itself, which its files share and nobody else includes: http.c (the client and
 * libcurl), http_request.c (one request), http_connections.c (what is open) and http_queue.c (who
 * has to wait).
 */
#include <curl/curl.h>

#include "base/list.h"
#include "fetcher/http/client.h"
#include "fetcher/http/rate_limit.h"
#include "fetcher/http/tls_identity.h"

/* Streams that one connection carries before another is opened; servers allow 100 and more. */
#define HTTP_STREAMS_PER_CONNECTION 100u

enum http_queue { HTTP_QUEUE_EAGER, HTTP_QUEUE_PATIENT, HTTP_QUEUES };

struct http_client {
    sd_event *event;
    const struct api_config *config;
    CURLM *multi;
    char *base_url;                /* config's server, with the name that TLS is to check */
    struct curl_slist *connect_to; /* where the server really is, if that is another name */
    struct curl_slist *headers;    /* of every request, without Authorization */
    void *identities;              /* tsearch(3) tree of struct tls_identity */

    sd_event_source *timer;    /* libcurl's */
    sd_event_source *settle;   /* armed after input */
    struct list sockets;       /* of struct http_socket */
    struct list freed;         /* requests freed within a callback of libcurl */
    unsigned n_calls;          /* nesting of calls into libcurl */
    unsigned long n_callbacks; /* of requests, ever: tells whether a pass was a quiet one */
    unsigned long n_passes;    /* ever */

    /* http_queue.c */
    sd_event_source *admit; /* armed when those that wait are to be looked at */
    struct rate_limit pace;
    struct list queues[HTTP_QUEUES]; /* of struct http_request that libcurl is not to know yet */
    struct list unsent;              /* requests that libcurl has and has not sent */
    struct list sent;                /* those that it has sent */
    size_t n_active;                 /* both of these */
    size_t n_unanswered;             /* the part of them that has no response */
    struct http_request *pioneer;    /* the one that opens another connection; NULL: none */

    /* http_connections.c */
    struct list connections; /* of struct http_connection */
    size_t n_ready;          /* the part of them that has carried a response */
    size_t streams_max;      /* that one of them carries, as far as we know */
    bool is_serial;          /* a connection carries one request at a time */
    struct http_stats stats;
};
