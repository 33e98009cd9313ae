/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a request sends, and libcurl's options for that. For the files of the HTTP client only.
 */
#include "fetcher/http/call.h"
#include "fetcher/http/tls_identity.h"
#include "fetcher/http/transport.h"

struct http_message {
    char *path; /* NULL once libcurl has it */
    char *body; /* NULL: a GET */
    bool is_patch;
    bool is_repeatable;
    bool wants_table;
    struct tls_identity *identity;
    struct curl_slist own_headers[3];
};

/* Return: 0 or -ENOMEM; http_message_deinit() is allowed in either case. */
int http_message_init(struct http_message *message, struct http_transport *transport,
                      const struct http_call *call);
/* libcurl's handle must be gone. */
void http_message_deinit(struct http_message *message);
/*
 * Set what to send and how to connect. Certificates, tokens and body are not copied: @easy refers
 * to the message's.
 * Return: 0 or -ENOMEM.
 */
int http_message_prepare(struct http_message *message, CURL *easy,
                         struct http_transport *transport);
/* Whether the server may process it twice. */
bool http_message_is_repeatable(const struct http_message *message);
