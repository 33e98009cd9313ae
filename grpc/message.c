/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc/message.h"

static const char *const code_names[] = {
    [GRPC_OK] = "OK",
    [GRPC_CANCELLED] = "CANCELLED",
    [GRPC_UNKNOWN] = "UNKNOWN",
    [GRPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [GRPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [GRPC_NOT_FOUND] = "NOT_FOUND",
    [GRPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [GRPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [GRPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [GRPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [GRPC_ABORTED] = "ABORTED",
    [GRPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [GRPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [GRPC_INTERNAL] = "INTERNAL",
    [GRPC_UNAVAILABLE] = "UNAVAILABLE",
    [GRPC_DATA_LOSS] = "DATA_LOSS",
    [GRPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *grpc_code_name(enum grpc_code code)
{
    assert(code < ELEMENTS_OF(code_names));
    return code_names[code];
}

/* ---- headers */

static span_us unit_of(char letter, span_us *ret_divisor)
{
    *ret_divisor = 1;
    switch (letter) {
    case 'H':
        return SPAN_SEC(3600);
    case 'M':
        return SPAN_SEC(60);
    case 'S':
        return SPAN_SEC(1);
    case 'm':
        return SPAN_MS(1);
    case 'u':
        return 1;
    case 'n':
        *ret_divisor = 1000;
        return 1;
    default:
        return 0;
    }
}

int grpc_timeout_parse(const char *text, size_t len, span_us *ret_span)
{
    span_us unit, divisor, n = 0;

    if (len < 2 || len > 9)
        return -EINVAL;
    unit = unit_of(text[len - 1], &divisor);
    if (unit == 0)
        return -EINVAL;
    for (size_t i = 0; i < len - 1; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        n = n * 10 + (span_us)(text[i] - '0');
    }
    *ret_span = (n * unit + divisor - 1) / divisor;
    return 0;
}

int grpc_text_encode(const char *text, struct buf *b)
{
    size_t len = strnlen(text, GRPC_TEXT_MAX);

    /* do not cut a character of UTF-8 */
    while (text[len] != '\0' && len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        int r = c >= 0x20 && c <= 0x7e && c != '%' ? buf_add(b, &c, 1) : buf_addf(b, "%%%02X", c);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- messages */

void grpc_reader_init(struct grpc_reader *reader)
{
    *reader = (struct grpc_reader){.message = BUF_INIT(GRPC_MESSAGE_MAX_BYTES)};
}

void grpc_reader_deinit(struct grpc_reader *reader)
{
    buf_deinit(&reader->message);
}

static enum grpc_code check_head(struct grpc_reader *reader, struct error *e)
{
    const uint8_t *head = reader->head;

    reader->message_len =
        (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | (size_t)head[4];
    if (head[0] > 1) {
        error_set(e, -EBADMSG, "invalid gRPC message: its first byte is %u, expected 0 or 1",
                  head[0]);
        return GRPC_INTERNAL;
    }
    if (head[0] == 1) {
        error_set(e, -EOPNOTSUPP, "compressed messages are not supported: send them uncompressed");
        return GRPC_UNIMPLEMENTED;
    }
    if (reader->message_len > GRPC_MESSAGE_MAX_BYTES) {
        error_set(e, -EMSGSIZE, "the message of %zu bytes is larger than the limit of %u",
                  reader->message_len, GRPC_MESSAGE_MAX_BYTES);
        return GRPC_RESOURCE_EXHAUSTED;
    }
    return GRPC_OK;
}

enum grpc_code grpc_reader_add(struct grpc_reader *reader, const uint8_t *bytes, size_t len,
                               struct error *e)
{
    size_t n = size_min(len, GRPC_HEAD_BYTES - reader->n_head);
    enum grpc_code code;

    if (n > 0) {
        memcpy(reader->head + reader->n_head, bytes, n);
        reader->n_head += n;
        if (reader->n_head < GRPC_HEAD_BYTES)
            return GRPC_OK;
        code = check_head(reader, e);
        if (code != GRPC_OK)
            return code;
    }
    assert(reader->message.len <= reader->message_len);
    if (len - n > reader->message_len - reader->message.len) {
        error_set(e, -EBADMSG, "data follows the message: a call has one message");
        return GRPC_INTERNAL;
    }
    if (buf_add(&reader->message, bytes + n, len - n) < 0) {
        error_set_errno(e, -ENOMEM, "cannot receive the message");
        return GRPC_RESOURCE_EXHAUSTED;
    }
    return GRPC_OK;
}

enum grpc_code grpc_reader_end(const struct grpc_reader *reader, struct error *e)
{
    if (reader->n_head == GRPC_HEAD_BYTES && reader->message.len == reader->message_len)
        return GRPC_OK;
    if (reader->n_head == 0)
        error_set(e, -EBADMSG, "the message is missing: send one, even if it is empty");
    else
        error_set(e, -EBADMSG, "the message is incomplete: %zu of %zu bytes arrived",
                  reader->message.len, reader->message_len);
    return GRPC_INTERNAL;
}

void grpc_head_write(uint8_t head[static GRPC_HEAD_BYTES], size_t len)
{
    assert(len <= UINT32_MAX);
    head[0] = 0;
    for (unsigned i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}
