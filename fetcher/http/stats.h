/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Counters of the HTTP client. */
#include <stddef.h>

/* An API server uses about fifteen; further ones are not counted. */
#define HTTP_STATS_CODES_MAX 24
struct http_stats {
    struct {
        int status; /* 0: no response */
        unsigned long n;
    } codes[HTTP_STATS_CODES_MAX];
    size_t n_codes;
    unsigned connections; /* open sockets */
    size_t n_waiting;     /* requests that wait for admission */
    const char *protocol; /* of the newest response: "HTTP/2", "HTTP/1.1"; "" before the first */
};

/* A request ended with @status; 0 if it got no response. */
void http_stats_count(struct http_stats *stats, int status);
