/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2 can check headers by itself, but it refuses what the kubelet sends as :authority: the raw
 * path of the socket, or nothing (R11a). So its checks are off, and the rules of HTTP/2 that matter
 * to a server are here: which pseudo-headers are required, once each and before the others, and
 * which names are forbidden (RFC 9113, 8.2 and 8.3). :authority is ignored: a client that reached
 * the socket meant this server, by any name.
 *
 * gRPC's own rules follow: POST, a content-type of application/grpc, no compression.
 */
#include "grpc/headers.h"

#define HEADER_OVERHEAD 32u /* RFC 9113, 6.5.2: what a header counts beyond its characters */

void grpc_headers_init(struct grpc_headers *headers)
{
    *headers = (struct grpc_headers){.timeout = SPAN_FOREVER};
}

static bool text_is(const char *text, size_t len, const char *expected)
{
    return len == strlen(expected) && memcmp(text, expected, len) == 0;
}

static bool text_begins(const char *text, size_t len, const char *prefix)
{
    size_t prefix_len = strlen(prefix);

    return len >= prefix_len && memcmp(text, prefix, prefix_len) == 0;
}

static bool has_character(const char *text, size_t len, char from, char to)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] >= from && text[i] <= to)
            return true;
    return false;
}

/* ---- pseudo-headers */

static unsigned pseudo_of(const char *name, size_t len)
{
    if (text_is(name, len, ":method"))
        return GRPC_PSEUDO_METHOD;
    if (text_is(name, len, ":scheme"))
        return GRPC_PSEUDO_SCHEME;
    if (text_is(name, len, ":path"))
        return GRPC_PSEUDO_PATH;
    if (text_is(name, len, ":authority"))
        return GRPC_PSEUDO_AUTHORITY;
    return 0;
}

static void add_pseudo(struct grpc_headers *headers, unsigned pseudo, const char *value, size_t len)
{
    if (pseudo == 0 || (headers->seen & pseudo) != 0 || headers->has_regular) {
        headers->is_malformed = true;
        return;
    }
    headers->seen |= pseudo;
    if (pseudo == GRPC_PSEUDO_METHOD)
        headers->is_post = text_is(value, len, "POST");
    if (pseudo == GRPC_PSEUDO_PATH) {
        size_t n = size_min(len, sizeof(headers->path) - 1);

        headers->is_malformed |= len == 0 || value[0] != '/' || memchr(value, '\0', len) != NULL;
        memcpy(headers->path, value, n);
        headers->path[n] = '\0';
    }
}

/* ---- other headers */

/* Source: RFC 9113, 8.2.2. */
static bool is_of_connection(const char *name, size_t len)
{
    static const char *const names[] = {"connection", "proxy-connection", "keep-alive",
                                        "transfer-encoding", "upgrade"};

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        if (text_is(name, len, names[i]))
            return true;
    return false;
}

/* "application/grpc", with or without "+proto" and parameters. */
static bool is_grpc_type(const char *value, size_t len)
{
    static const char type[] = "application/grpc", format[] = "+proto";

    if (!text_begins(value, len, type))
        return false;
    value += sizeof(type) - 1;
    len -= sizeof(type) - 1;
    if (text_begins(value, len, format)) {
        value += sizeof(format) - 1;
        len -= sizeof(format) - 1;
    }
    return len == 0 || *value == ';' || *value == ' ';
}

static void add_regular(struct grpc_headers *headers, const char *name, size_t name_len,
                        const char *value, size_t value_len)
{
    headers->has_regular = true;
    if (name_len == 0 || has_character(name, name_len, 'A', 'Z') ||
        is_of_connection(name, name_len) ||
        (text_is(name, name_len, "te") && !text_is(value, value_len, "trailers")))
        headers->is_malformed = true;
    else if (text_is(name, name_len, "content-type"))
        headers->is_grpc = is_grpc_type(value, value_len);
    else if (text_is(name, name_len, "grpc-encoding"))
        headers->is_compressed = !text_is(value, value_len, "identity");
    else if (text_is(name, name_len, "grpc-timeout"))
        headers->is_bad_timeout = grpc_timeout_parse(value, value_len, &headers->timeout) < 0;
}

void grpc_headers_add(struct grpc_headers *headers, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    headers->n_bytes += name_len + value_len + HEADER_OVERHEAD;
    if (headers->n_bytes > GRPC_HEADERS_MAX_BYTES)
        return; /* refused as a whole */
    if (name_len > 0 && name[0] == ':')
        add_pseudo(headers, pseudo_of(name, name_len), value, value_len);
    else
        add_regular(headers, name, name_len, value, value_len);
}

/* ---- the verdict */

static enum grpc_headers_verdict refuse(enum grpc_code code, enum grpc_code *ret_code)
{
    *ret_code = code;
    return GRPC_HEADERS_REFUSED;
}

enum grpc_headers_verdict grpc_headers_check(const struct grpc_headers *headers,
                                             unsigned *ret_http_status, enum grpc_code *ret_code,
                                             struct error *e)
{
    const unsigned needed = GRPC_PSEUDO_METHOD | GRPC_PSEUDO_SCHEME | GRPC_PSEUDO_PATH;

    if (headers->n_bytes > GRPC_HEADERS_MAX_BYTES) {
        error_set(e, -EMSGSIZE, "the headers are larger than the limit of %u bytes",
                  GRPC_HEADERS_MAX_BYTES);
        return refuse(GRPC_RESOURCE_EXHAUSTED, ret_code);
    }
    if (headers->is_malformed || (headers->seen & needed) != needed)
        return GRPC_HEADERS_MALFORMED;
    if (!headers->is_post || !headers->is_grpc) {
        *ret_http_status = headers->is_post ? 415 : 405;
        return GRPC_HEADERS_NOT_GRPC;
    }
    if (headers->is_compressed) {
        error_set(e, -EOPNOTSUPP, "unsupported grpc-encoding: send messages uncompressed");
        return refuse(GRPC_UNIMPLEMENTED, ret_code);
    }
    if (headers->is_bad_timeout) {
        error_set(e, -EINVAL, "invalid grpc-timeout: expected digits and one of H M S m u n");
        return refuse(GRPC_INTERNAL, ret_code);
    }
    return GRPC_HEADERS_VALID;
}
