/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The headers of a request, collected one by one, and their check. See headers.c. */
#include "grpc/message.h"

#define GRPC_PATH_MAX          128 /* twice the longest path that is served */
/* Ten times what the kubelet sends, socket paths of 108 bytes included; counted as HTTP/2 does. */
#define GRPC_HEADERS_MAX_BYTES 8192u

enum grpc_pseudo {
    GRPC_PSEUDO_METHOD = 1 << 0,
    GRPC_PSEUDO_SCHEME = 1 << 1,
    GRPC_PSEUDO_PATH = 1 << 2,
    GRPC_PSEUDO_AUTHORITY = 1 << 3,
};

struct grpc_headers {
    size_t n_bytes;
    unsigned seen;     /* of enum grpc_pseudo */
    bool has_regular;  /* headers whose name begins with no colon */
    bool is_malformed; /* HTTP/2 forbids them */
    bool is_post;
    bool is_grpc;       /* by its content-type */
    bool is_compressed; /* with anything but identity */
    bool is_bad_timeout;
    span_us timeout;          /* SPAN_FOREVER if there is none */
    char path[GRPC_PATH_MAX]; /* cut if it is longer: an unknown one then */
};

void grpc_headers_init(struct grpc_headers *headers);
/* A header of the request, as nghttp2 brings it: the texts are not NUL-terminated. */
void grpc_headers_add(struct grpc_headers *headers, const char *name, size_t name_len,
                      const char *value, size_t value_len);

enum grpc_headers_verdict {
    GRPC_HEADERS_VALID,
    GRPC_HEADERS_MALFORMED, /* reset the stream with PROTOCOL_ERROR */
    GRPC_HEADERS_NOT_GRPC,  /* answer with *ret_http_status only */
    GRPC_HEADERS_REFUSED,   /* answer with *ret_code and @e */
};

/* Check headers that are complete. */
enum grpc_headers_verdict grpc_headers_check(const struct grpc_headers *headers,
                                             unsigned *ret_http_status, enum grpc_code *ret_code,
                                             struct error *e);
