/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a kubelet sends, byte by byte: messages, and a whole connection with one call on it. */
#include <stdio.h>

#include "base/buf.h"

#define REQUEST_MAX 65536

static inline void request_add(struct buf *b, const void *bytes, size_t len)
{
    if (buf_add(b, bytes, len) < 0)
        abort();
}

static inline void request_add_byte(struct buf *b, unsigned byte)
{
    const uint8_t one = (uint8_t)byte;

    request_add(b, &one, 1);
}

static inline void request_add_varint(struct buf *b, size_t n)
{
    for (; n > 0x7f; n >>= 7)
        request_add_byte(b, (n & 0x7f) | 0x80);
    request_add_byte(b, (unsigned)n);
}

/* ---- protocol buffers */

static inline void request_add_bytes(struct buf *b, unsigned field, const void *bytes, size_t len)
{
    request_add_varint(b, field << 3 | 2);
    request_add_varint(b, len);
    request_add(b, bytes, len);
}

static inline void request_add_text(struct buf *b, unsigned field, const char *text)
{
    request_add_bytes(b, field, text, strlen(text));
}

static inline void request_add_pair(struct buf *b, unsigned field, const char *key,
                                    const char *value)
{
    struct buf pair = BUF_INIT(REQUEST_MAX);

    request_add_text(&pair, 1, key);
    request_add_text(&pair, 2, value);
    request_add_bytes(b, field, pair.data, pair.len);
    buf_deinit(&pair);
}

/* ---- HTTP/2 */

static inline void request_add_frame(struct buf *b, unsigned type, unsigned flags,
                                     unsigned stream_id, const void *bytes, size_t len)
{
    const uint8_t head[] = {(uint8_t)(len >> 16),
                            (uint8_t)(len >> 8),
                            (uint8_t)len,
                            (uint8_t)type,
                            (uint8_t)flags,
                            0,
                            0,
                            0,
                            (uint8_t)stream_id};

    request_add(b, head, sizeof(head));
    request_add(b, bytes, len);
}

/* A header as HPACK writes it: not indexed, its name in full. */
static inline void request_add_header(struct buf *b, const char *name, const char *value)
{
    request_add_byte(b, 0);
    request_add_byte(b, (unsigned)strlen(name)); /* shorter than 127 */
    request_add(b, name, strlen(name));
    request_add_byte(b, (unsigned)strlen(value));
    request_add(b, value, strlen(value));
}

static inline void request_add_preface(struct buf *b)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    request_add(b, preface, sizeof(preface) - 1);
    request_add_frame(b, 4, 0, 0, "", 0);
}

/* A call on a stream, with the whole of its message. */
static inline void request_add_call(struct buf *b, unsigned stream_id, const char *path,
                                    const void *message, size_t len)
{
    const uint8_t head[] = {0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                            (uint8_t)len};
    struct buf headers = BUF_INIT(REQUEST_MAX), body = BUF_INIT(REQUEST_MAX);

    request_add_header(&headers, ":method", "POST");
    request_add_header(&headers, ":scheme", "http");
    request_add_header(&headers, ":path", path);
    request_add_header(&headers, ":authority", "/run/x.sock");
    request_add_header(&headers, "content-type", "application/grpc");
    request_add_frame(b, 1, 4, stream_id, headers.data, headers.len);
    request_add(&body, head, sizeof(head));
    request_add(&body, message, len);
    request_add_frame(b, 0, 1, stream_id, body.data, body.len);
    buf_deinit(&headers);
    buf_deinit(&body);
}
