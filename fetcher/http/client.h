/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An HTTP client for one API server: many requests over few connections, at a pace. See http.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fetcher/auth/credentials.h"

struct http_client;
struct http_request;

/* The API server takes 3 MiB at most; what is sent from here are reviews and events. */
#define HTTP_BODY_MAX_BYTES (1u << 20)

/* The head of a response. */
struct http_response {
    int status;
    span_us retry_after;      /* what the server asks to wait; 0 if it does not say */
    const char *content_type; /* borrowed during the call; "" if there is none */
};

enum http_outcome {
    HTTP_COMPLETE, /* the whole response arrived, whatever its status */
    HTTP_REFUSED,  /* nothing listens at the server's address */
    HTTP_FAILED,   /* no connection, no trust, or the connection broke or timed out */
};

/*
 * How a request tells what becomes of it. Each may free the request, start others and free those,
 * but not free the client.
 */
struct http_handler {
    void (*on_response)(void *userdata, const struct http_response *response);
    /* @bytes are wiped after the call. */
    void (*on_body)(void *userdata, const char *bytes, size_t len);
    /* The last call of a request. @error: what went wrong and what to do; NULL if HTTP_COMPLETE. */
    void (*on_done)(void *userdata, enum http_outcome outcome, const struct error *error);
};

/* A request: a GET, or a POST if it has a body. */
struct http_call {
    const char *path;    /* with its query, behind the server's URL; begins with a slash */
    const char *body;    /* JSON, copied and wiped when it is no longer needed; NULL: a GET */
    span_us total_limit; /* from when it had its turn to the last byte */
    bool is_watch;       /* lives long, and is less urgent than one that is not */
    /* It had its turn and goes out; may come again should the connection be found dead. Or NULL. */
    void (*on_sent)(void *userdata);
    const struct credentials_material *material; /* copied */
};

/*
 * @config: borrowed, outlives the client
 * Return: 0, *ret_client is the caller's; -EINVAL with @e for a server that is no http or https
 * URL, or values that cannot be sent; -EIO, -ENOMEM or sd-event's errors with @e.
 */
int http_client_new(sd_event *event, const struct api_config *config,
                    struct http_client **ret_client, struct error *e);
/*
 * How many requests may begin in a second, and how many of them at once; 0 for no limit. A thousand
 * objects, which are two thousand requests, are there after 1.3 s and watched after 4.7 s.
 */
#define HTTP_PACE_PER_SEC 300u
#define HTTP_PACE_BURST   600u
void http_client_set_rate_limit(struct http_client *client, unsigned per_sec, unsigned burst);
/* All requests must have been freed. Return: NULL. */
struct http_client *http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free)

/*
 * Start a request. Its handler is not called before this returns.
 * @handler: borrowed, outlives the request
 * Return: 0, *ret_request is the caller's; -EFBIG for a body above HTTP_BODY_MAX_BYTES, -EAGAIN
 * when far too many wait for their turn, -ENOMEM, all with @e.
 */
int http_client_send(struct http_client *client, const struct http_call *call,
                     const struct http_handler *handler, void *userdata,
                     struct http_request **ret_request, struct error *e);
/* Cancels a request that is not done: no handler is called any more. Return: NULL. */
struct http_request *http_request_free(struct http_request *request);
DEFINE_CLEANUP(struct http_request *, http_request_free)

#define HTTP_STATS_CODES_MAX                                                                       \
    24 /* far more than an API server uses; the rest is not counted apart */
struct http_stats {
    struct {
        int status; /* 0: no response came */
        unsigned long n;
    } codes[HTTP_STATS_CODES_MAX];
    size_t n_codes;
    unsigned connections; /* sockets open now */
    size_t n_waiting;     /* requests that wait for their turn now */
    const char *protocol; /* of the newest response: "HTTP/2", "HTTP/1.1"; "" before the first */
};

/* Borrowed until the next run of the event loop. */
const struct http_stats *http_client_stats(const struct http_client *client);
