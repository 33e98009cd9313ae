/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The encodings of gRPC over HTTP/2: codes, timeouts, texts in headers, heads of messages. */
#include "base/buf.h"
#include "base/clock.h"

/* Source: gRPC's list of status codes. */
enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};
#define GRPC_CODES (GRPC_UNAUTHENTICATED + 1u)

/* As documents and metrics write it: "NOT_FOUND". */
const char *grpc_code_name(enum grpc_code code);

/*
 * Parse a grpc-timeout header: one to eight digits and a unit of H M S m u n.
 * Return: 0, rounded up to a microsecond; -EINVAL.
 */
int grpc_timeout_parse(const char *text, size_t len, span_us *ret_span);

/*
 * Append @text as a grpc-message header: bytes other than printable ASCII, and %, become %XX. A
 * text longer than GRPC_TEXT_MAX is cut, at the end of a character.
 * Return: 0; -ENOMEM; -EFBIG.
 */
#define GRPC_TEXT_MAX                                                                              \
    1024u /* an Event of the kubelet holds 1024 bytes, the kubelet's own words included */
#define GRPC_TEXT_ENCODED_MAX ((size_t)3 * GRPC_TEXT_MAX)
int grpc_text_encode(const char *text, struct buf *b) MUST_CHECK;

/*
 * A message in a stream has a head: one byte, 1 if the message is compressed, and four of length.
 * The reader reads one message, as all calls here are unary.
 */
#define GRPC_HEAD_BYTES 5
#define GRPC_MESSAGE_MAX_BYTES                                                                     \
    (4u << 20) /* gRPC's usual limit; a pod is 1.5 MiB at most, a Secret 1 MiB */

struct grpc_reader {
    uint8_t head[GRPC_HEAD_BYTES];
    size_t n_head;      /* bytes of it that have arrived */
    size_t message_len; /* from the head */
    struct buf message;
};

void grpc_reader_init(struct grpc_reader *reader);
void grpc_reader_deinit(struct grpc_reader *reader);
/* @len more bytes of the stream. Return: GRPC_OK; else the code to answer with, with @e, and the
 * reader must not be used any more. */
enum grpc_code grpc_reader_add(struct grpc_reader *reader, const uint8_t *bytes, size_t len,
                               struct error *e);
/* The end of the stream. Return: GRPC_OK if the message is complete; else as above. */
enum grpc_code grpc_reader_end(const struct grpc_reader *reader, struct error *e);

/* Write the head of a message of @len bytes. */
void grpc_head_write(uint8_t head[static GRPC_HEAD_BYTES], size_t len);
