/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What gRPC's protocol over HTTP/2 writes down: codes, timeouts, messages in headers, frames. */
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

/* As they are written in documents and metrics: "NOT_FOUND". */
const char *grpc_code_name(enum grpc_code code);

/*
 * Parse a grpc-timeout header: one to eight digits and a unit of H M S m u n.
 * Return: 0, rounded up to a microsecond; -EINVAL.
 */
int grpc_timeout_parse(const char *text, size_t len, span_us *ret_span);

/*
 * Append text as a grpc-message header has it: what is not printable ASCII as %XX. Longer texts
 * than GRPC_TEXT_MAX are cut.
 * Return: 0; -ENOMEM; -EFBIG.
 */
#define GRPC_TEXT_MAX                                                                              \
    1024u /* a kubelet's event holds 1024 bytes, the kubelet's own words included */
#define GRPC_TEXT_ENCODED_MAX ((size_t)3 * GRPC_TEXT_MAX)
int grpc_text_encode(const char *text, struct buf *b) MUST_CHECK;

/*
 * The messages of a stream: each has a byte that says whether it is compressed and four of length
 * in front. This reads one, as all calls here are unary.
 */
#define GRPC_HEAD_BYTES 5
#define GRPC_MESSAGE_MAX_BYTES                                                                     \
    (4u << 20) /* what other servers take, too; a pod is 1.5 MiB at most, a Secret 1 MiB */

struct grpc_reader {
    uint8_t head[GRPC_HEAD_BYTES];
    size_t n_head;      /* bytes of it that are there */
    size_t message_len; /* what the head says */
    struct buf message;
};

void grpc_reader_init(struct grpc_reader *reader);
void grpc_reader_deinit(struct grpc_reader *reader);
/* More of the stream. Return: GRPC_OK; the code to answer with, and @e, which ends the reading. */
enum grpc_code grpc_reader_add(struct grpc_reader *reader, const uint8_t *bytes, size_t len,
                               struct error *e);
/* The stream is at its end. Return: GRPC_OK, the message is whole; else as above. */
enum grpc_code grpc_reader_end(const struct grpc_reader *reader, struct error *e);

/* The head of a message of @len bytes that is sent. */
void grpc_head_write(uint8_t head[static GRPC_HEAD_BYTES], size_t len);
