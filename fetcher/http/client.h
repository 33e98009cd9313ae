/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An HTTP client for one API server: many requests over few connections, with a rate limit. See
 * client.c for libcurl on the event loop, admission.c for the order of requests.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "fetcher/http/call.h"
#include "fetcher/http/stats.h"

struct http_client;
struct http_request;

/*
 * @config: borrowed, outlives the client
 * Return: 0, *ret_client is the caller's; -EINVAL with @e for a server that is not an http or https
 * URL, or values that a header cannot carry; -EIO, -ENOMEM or sd-event's errors with @e.
 */
int http_client_new(sd_event *event, const struct api_config *config,
                    struct http_client **ret_client, struct error *e);
/*
 * How many requests may begin in a second, and how many of them at once; 0: no limit. With the
 * defaults a thousand objects, which are two thousand requests, arrive within 1.3 s and are watched
 * after 4.7 s.
 */
#define HTTP_DEFAULT_QPS   300u
#define HTTP_DEFAULT_BURST 600u
void http_client_set_rate_limit(struct http_client *client, unsigned per_sec, unsigned burst);
/* All requests must have been freed. Return: NULL. */
struct http_client *http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free)

/*
 * Start a request. Its handler is not called before this returns.
 * @handler: borrowed, outlives the request
 * Return: 0, *ret_request is the caller's; -EFBIG for a body above HTTP_BODY_MAX_BYTES, -EAGAIN
 * when too many requests wait, -ENOMEM, all with @e.
 */
int http_client_send(struct http_client *client, const struct http_call *call,
                     const struct http_handler *handler, void *userdata,
                     struct http_request **ret_request, struct error *e);
/* Cancels a request that is not done: its handler is not called any more. Return: NULL. */
struct http_request *http_request_free(struct http_request *request);
DEFINE_CLEANUP(struct http_request *, http_request_free)

/* As they are now; borrowed until the next run of the event loop. */
const struct http_stats *http_client_stats(struct http_client *client);
