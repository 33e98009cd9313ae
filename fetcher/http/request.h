/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One request of the HTTP client; for its files only. */
#include "fetcher/http/client_internal.h"

#define HTTP_REQUEST_MAGIC 0x72657175u
struct http_request {
    unsigned magic;
    struct http_client *client;
    struct list link;
    const struct http_handler *handler; /* NULL once it is freed or done */
    void *userdata;
    /* what was asked for */
    char *path; /* NULL once libcurl has it */
    char *body; /* NULL: a GET */
    span_us total_limit;
    bool is_watch;
    void (*on_sent)(void *userdata);
    struct tls_identity *identity;
    /* on its way */
    bool is_queued;
    bool is_paid; /* the pace let it pass */
    CURL *easy;   /* NULL before it is libcurl's turn */
    struct curl_slist own_headers[2];
    bool is_added;         /* to libcurl's multi */
    bool was_run;          /* libcurl has tried to send it */
    bool needs_connection; /* it found no room, although we thought that there was some */
    struct http_connection *connection; /* NULL: it was not sent */
    bool has_response;
    char error_text[CURL_ERROR_SIZE];
};

/* Return: NULL for want of memory. */
struct http_request *http_request_new(struct http_client *client, const struct http_call *call);
struct http_request *http_request_check(void *userdata);
/* Hand it to libcurl, which begins with it in the next turn of the loop. Return: 0 or -ENOMEM. */
int http_request_start(struct http_request *request);
/* Take it back from libcurl, if that has it. */
void http_request_withdraw(struct http_request *request);
void http_request_destroy(struct http_request *request);
/* It has come to its end: tell its user. */
void http_request_finish(struct http_request *request, CURLcode code);
/* The same in other words; @error: NULL for HTTP_COMPLETE. */
void http_request_report(struct http_request *request, enum http_outcome outcome,
                         const struct error *error);
