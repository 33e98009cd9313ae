/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One request of the HTTP client. For the files of the HTTP client only.
 *
 * It is its caller's from http_client_send() to http_request_free(). It is in no list before it is
 * submitted and after its end, and otherwise in one of these:
 *
 *     queue ---> unsent ---> sent ---> answered
 *       ^          | ^        | |
 *       |          | '--------' |   libcurl began it again
 *       '----------'------------'   libcurl could not send it; its connection broke
 *
 * The last three are the transport's, and libcurl has their requests: is_added. For a moment it may
 * be in another list: fail_refused() of admission.c reports those that were refused too often, and
 * client.c frees those that were freed within a callback of libcurl.
 */
#include "fetcher/http/message.h"

#define HTTP_REQUEST_MAGIC 0x72657175u
struct http_request {
    unsigned magic;
    struct http_transport *transport;
    struct list link;                   /* in one of the lists above */
    const struct http_handler *handler; /* NULL once it is freed or done */
    void *userdata;

    /* the call */
    struct http_message message;
    bool is_watch;
    span_us total_limit;
    void (*on_sent)(void *userdata);

    /* admission.c's */
    bool is_queued;
    bool is_rate_limited;  /* the rate limit has counted it */
    bool needs_connection; /* the open connections had no room, contrary to expectation */

    /* libcurl's side */
    CURL *easy;                         /* NULL before its admission */
    struct http_connection *connection; /* NULL: not sent, or unknown */
    bool is_added;                      /* to the multi handle */
    bool was_run;                       /* libcurl has tried to send it */
    bool has_response;
    unsigned n_sent;         /* how often, by us or by libcurl */
    mono_us sent_at;         /* for the first time */
    curl_off_t restarted_at; /* libcurl's value when it was sent */
    char error_text[CURL_ERROR_SIZE];
};

/* @handler: borrowed, outlives the request. Return: NULL for want of memory. */
struct http_request *http_request_new(struct http_transport *transport,
                                      const struct http_call *call,
                                      const struct http_handler *handler, void *userdata);
/* libcurl's CURLINFO_PRIVATE, or another userdata of a callback. */
struct http_request *http_request_check(void *userdata);
/* Give it to libcurl, which sends it in the next turn of the loop. Return: 0 or -ENOMEM. */
int http_request_start(struct http_request *request);
/* Take it back from libcurl; nothing happens if libcurl does not have it. */
void http_request_withdraw(struct http_request *request);
/* Whether it was sent, and libcurl has begun it again and not yet sent it again. */
bool http_request_is_restarted(const struct http_request *request);
/* It counts as one that libcurl tried to send. Of a request that http_request_is_restarted(). */
void http_request_unsend(struct http_request *request);
/* Whether it was not sent too often. */
bool http_request_may_resend(const struct http_request *request);
/* libcurl ended it with @code. Whether it may be sent again; see request.c. */
bool http_request_is_resendable(const struct http_request *request, CURLcode code);
/* Free it without a report. It may not be queued. NULL is fine. Return: NULL. */
struct http_request *http_request_destroy(struct http_request *request);

/*
 * libcurl ended it with @code: withdraw it, and explain how it ended.
 * @ret_error: empty for HTTP_COMPLETE
 */
enum http_outcome http_request_end(struct http_request *request, CURLcode code,
                                   struct error *ret_error);
/* Call its handler's on_done, unless it was freed; the request may be gone afterwards. */
void http_request_report(struct http_request *request, enum http_outcome outcome,
                         const struct error *error);
