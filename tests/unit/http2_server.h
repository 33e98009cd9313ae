/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * HTTP/2 frame by frame, for servers that end connections and refuse streams when the test says so.
 * A connection runs the test's function once: it takes requests one by one, in the order of their
 * arrival, and answers them or not. Frames are put together and leave in one TLS record, with
 * http2_flush() and before the server waits for anything.
 */
#include "tests/unit/test_server.h"

enum http2_type {
    HTTP2_DATA = 0,
    HTTP2_HEADERS = 1,
    HTTP2_RST_STREAM = 3,
    HTTP2_SETTINGS = 4,
    HTTP2_PING = 6,
    HTTP2_GOAWAY = 7,
};

enum http2_error {
    HTTP2_NO_ERROR = 0,
    HTTP2_INTERNAL_ERROR = 2,
    HTTP2_REFUSED_STREAM = 7,
    HTTP2_ENHANCE_YOUR_CALM = 11,
};

#define HTTP2_ACK         1u
#define HTTP2_END_STREAM  1u
#define HTTP2_END_HEADERS 4u

struct http2 {
    struct connection *c;
    unsigned char out[4096]; /* frames that wait for http2_flush() */
    size_t out_len;
    unsigned n_ping_acks;
};

struct http2_frame {
    unsigned type;
    unsigned flags;
    unsigned stream;
    size_t len;
    unsigned char payload[16384];
};

static inline void http2_flush(struct http2 *h)
{
    if (h->out_len > 0)
        server_write(h->c, h->out, h->out_len);
    h->out_len = 0;
}

static inline void http2_put(struct http2 *h, unsigned long value, size_t n_bytes)
{
    if (h->out_len + n_bytes > sizeof(h->out))
        abort();
    while (n_bytes-- > 0)
        h->out[h->out_len++] = (unsigned char)(value >> (8 * n_bytes));
}

static inline void http2_frame(struct http2 *h, enum http2_type type, unsigned flags,
                               unsigned stream, size_t len)
{
    http2_put(h, len, 3);
    http2_put(h, type, 1);
    http2_put(h, flags, 1);
    http2_put(h, stream, 4);
}

/* No more streams than that at a time, from now on. */
static inline void http2_limit_streams(struct http2 *h, unsigned n)
{
    http2_frame(h, HTTP2_SETTINGS, 0, 0, 6);
    http2_put(h, 3, 2); /* SETTINGS_MAX_CONCURRENT_STREAMS */
    http2_put(h, n, 4);
}

/* The head of a response with status 200. */
static inline void http2_respond(struct http2 *h, unsigned stream)
{
    http2_frame(h, HTTP2_HEADERS, HTTP2_END_HEADERS, stream, 1);
    http2_put(h, 0x88, 1); /* HPACK's static entry 8 */
}

/* An interim response, with status 103. */
static inline void http2_early_hints(struct http2 *h, unsigned stream)
{
    static const unsigned char field[] = {0x08, 3, '1', '0', '3'};

    http2_frame(h, HTTP2_HEADERS, HTTP2_END_HEADERS, stream, sizeof(field));
    for (size_t i = 0; i < sizeof(field); i++)
        http2_put(h, field[i], 1);
}

static inline void http2_body(struct http2 *h, unsigned stream, const char *text, bool is_end)
{
    http2_frame(h, HTTP2_DATA, is_end ? HTTP2_END_STREAM : 0, stream, strlen(text));
    for (; *text != '\0'; text++)
        http2_put(h, (unsigned char)*text, 1);
}

static inline void http2_answer(struct http2 *h, unsigned stream)
{
    http2_respond(h, stream);
    http2_body(h, stream, "ok", true);
}

static inline void http2_begin_watch(struct http2 *h, unsigned stream)
{
    http2_respond(h, stream);
    http2_body(h, stream, "first", false);
}

/* Status 429, and Retry-After of @seconds, which are a digit. */
static inline void http2_ask_for_pause(struct http2 *h, unsigned stream, unsigned char seconds)
{
    /* HPACK's literals with the names of static entries 8 and 53 */
    const unsigned char fields[] = {0x08, 3, '4', '2', '9', 0x0f, 53 - 15, 1, seconds};

    http2_frame(h, HTTP2_HEADERS, HTTP2_END_HEADERS | HTTP2_END_STREAM, stream, sizeof(fields));
    for (size_t i = 0; i < sizeof(fields); i++)
        http2_put(h, fields[i], 1);
}

/* @last_stream: later ones are not processed */
static inline void http2_go_away(struct http2 *h, unsigned last_stream, enum http2_error error)
{
    http2_frame(h, HTTP2_GOAWAY, 0, 0, 8);
    http2_put(h, last_stream, 4);
    http2_put(h, error, 4);
}

static inline void http2_reset(struct http2 *h, unsigned stream, enum http2_error error)
{
    http2_frame(h, HTTP2_RST_STREAM, 0, stream, 4);
    http2_put(h, error, 4);
}

static inline void http2_read(struct http2 *h, void *bytes, size_t len)
{
    for (size_t done = 0; done < len;)
        done += server_read(h->c, (char *)bytes + done, len - done);
}

/* Acknowledges what has to be, and notes what the client acknowledges. */
static inline void http2_receive(struct http2 *h, struct http2_frame *f)
{
    unsigned char head[9];

    http2_flush(h);
    http2_read(h, head, sizeof(head));
    *f = (struct http2_frame){.type = head[3], .flags = head[4]};
    f->len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    f->stream =
        (unsigned)head[5] << 24 | (unsigned)head[6] << 16 | (unsigned)head[7] << 8 | head[8];
    if (f->len > sizeof(f->payload))
        abort();
    http2_read(h, f->payload, f->len);
    if (f->type == HTTP2_SETTINGS && (f->flags & HTTP2_ACK) == 0)
        http2_frame(h, HTTP2_SETTINGS, HTTP2_ACK, 0, 0);
    if (f->type == HTTP2_PING && (f->flags & HTTP2_ACK) != 0)
        h->n_ping_acks++;
}

/* The next request; its body comes later, if it has one. Return: its stream. */
static inline unsigned http2_accept(struct http2 *h)
{
    struct http2_frame f;

    do
        http2_receive(h, &f);
    while (f.type != HTTP2_HEADERS);
    return f.stream;
}

/* Until the client has processed all that it was sent. A request that comes meanwhile is lost. */
static inline void http2_settle(struct http2 *h)
{
    unsigned before = h->n_ping_acks;
    struct http2_frame f;

    http2_frame(h, HTTP2_PING, 0, 0, 8);
    http2_put(h, 0, 8);
    while (h->n_ping_acks == before)
        http2_receive(h, &f);
}

/* Until the client goes away. */
static inline void http2_hang(struct http2 *h)
{
    struct http2_frame f;

    for (;;)
        http2_receive(h, &f);
}

/* End the connection in order: the client reads all that it was sent before it sees the end. */
static inline void http2_close(struct http2 *h)
{
    http2_flush(h);
    (void)SSL_shutdown(h->c->ssl);
    shutdown(h->c->fd, SHUT_WR);
    server_hang(h->c);
}

/* For the test's function to call first. @streams_max: as for http2_limit_streams() */
static inline void http2_begin(struct http2 *h, struct connection *c, unsigned streams_max)
{
    char rest[6]; /* the first line and the empty one behind it were read as a head */

    *h = (struct http2){.c = c};
    http2_read(h, rest, sizeof(rest));
    http2_limit_streams(h, streams_max);
}

/* @serve: called once for each connection, with a head to ignore */
static inline void http2_server_start(struct test_server *ret_server, const struct made_pair *pair,
                                      http_serve_fn *serve)
{
    server_start(ret_server, pair, true, serve);
}
