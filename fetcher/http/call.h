/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a caller of the HTTP client gives (a call) and gets (calls of its handler). */
#include "base/clock.h"
#include "fetcher/auth/credentials.h"

/* The API server accepts 3 MiB; secretfs sends reviews and events, which have a few KiB. */
#define HTTP_BODY_MAX_BYTES (1u << 20)

/* The head of a response. */
struct http_response {
    int status;
    span_us retry_after;      /* the server's Retry-After; 0: none */
    const char *content_type; /* borrowed during the call; "": none */
};

enum http_outcome {
    HTTP_COMPLETE,  /* the whole response arrived, with any status */
    HTTP_REFUSED,   /* the server's address refused the connection */
    HTTP_TIMED_OUT, /* total_limit or the limit for a connection has passed */
    HTTP_FAILED,    /* not connected, not trusted, or connection lost */
};

/*
 * How a request reports. Each function may free the request, start others and free those, but not
 * free the client.
 */
struct http_handler {
    void (*on_response)(void *userdata, const struct http_response *response);
    /* @bytes are wiped after the call. */
    void (*on_body)(void *userdata, const char *bytes, size_t len);
    /* The last call of a request. @error: what failed and what to do; NULL if HTTP_COMPLETE. */
    void (*on_done)(void *userdata, enum http_outcome outcome, const struct error *error);
};

/* A request: a GET, or a POST or PATCH if it has a body. */
struct http_call {
    const char *path;    /* with its query, relative to the server's URL; begins with a slash */
    const char *body;    /* JSON, copied, and wiped after use; NULL: a GET */
    bool is_patch;       /* the body is a strategic merge patch; it may be processed twice */
    bool is_repeatable;  /* a POST that leaves nothing behind, so that it may be processed twice */
    bool wants_table;    /* a list as a Table: the columns of `kubectl get`, no objects */
    span_us total_limit; /* from its admission to the last byte */
    bool is_watch;       /* long-lived, with a lower priority */
    /* It was admitted and is being sent; called again if it is sent again. Or NULL. */
    void (*on_sent)(void *userdata);
    const struct credentials_snapshot *credentials; /* copied */
};
