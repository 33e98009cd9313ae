/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte is looked at once, and moved once at most: used frames are dropped from the front of
 * the buffer when new bytes are added, and what moves then is less than what was added last, as
 * long as the user takes out every complete frame before it adds more.
 *
 * Of a frame that is too long and to be skipped, no more is kept than of any other.
 *
 * Control characters within a string are refused, as JSON does. It keeps NUL bytes from the parser.
 */
#include "fetcher/api/json_stream.h"

void json_stream_init(struct json_stream *f, size_t max_bytes)
{
    /* a complete frame may be followed by the part of another that came in the same piece */
    *f = (struct json_stream){.buf = BUF_INIT(2 * max_bytes), .max_bytes = max_bytes};
}

void json_stream_deinit(struct json_stream *f)
{
    buf_deinit(&f->buf);
}

void json_stream_reset(struct json_stream *f)
{
    bool skips_long = f->skips_long;

    json_stream_deinit(f);
    json_stream_init(f, f->max_bytes);
    f->skips_long = skips_long;
}

/* Wipe the frames before f->begin, and keep their place. */
static void wipe_used(struct json_stream *f)
{
    if (f->wiped < f->begin)
        explicit_bzero(f->buf.data + f->wiped, f->begin - f->wiped);
    f->wiped = f->begin;
}

/* Wipe the frames before f->begin, and move what follows to the front. */
static void drop_used(struct json_stream *f)
{
    if (f->begin == 0)
        return;
    wipe_used(f);
    if (f->begin == f->buf.len)
        buf_deinit(&f->buf); /* it may be long until the next event */
    else
        buf_drop_front(&f->buf, f->begin);
    f->scanned -= f->begin;
    f->begin = 0;
    f->wiped = 0;
}

int json_stream_add(struct json_stream *f, const char *bytes, size_t len)
{
    drop_used(f);
    return buf_add(&f->buf, bytes, len);
}

/* One byte between frames. Return: 1 if a frame begins with it, 0 for white space. */
static int scan_between(char c)
{
    if (c == '{')
        return 1;
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' ? 0 : -EINVAL;
}

/* One byte within a string. */
static int scan_string(struct json_stream *f, char c)
{
    if ((unsigned char)c < 0x20)
        return -EINVAL;
    if (f->is_escaped)
        f->is_escaped = false;
    else if (c == '\\')
        f->is_escaped = true;
    else if (c == '"')
        f->is_in_string = false;
    return 0;
}

/* One byte within a frame and outside of strings. Return: 1 if the frame ends with it. */
static int scan_structure(struct json_stream *f, char c)
{
    switch (c) {
    case '"':
        f->is_in_string = true;
        return 0;
    case '{':
    case '[':
        f->depth++;
        return 0;
    case '}':
    case ']':
        return --f->depth == 0;
    case '\0':
        return -EINVAL;
    default:
        return 0;
    }
}

/* One byte. Return: 1 if a frame ends with it; 0; -EINVAL. */
static int scan(struct json_stream *f, char c)
{
    int r;

    if (f->is_in_string)
        return scan_string(f, c);
    if (f->depth > 0)
        return scan_structure(f, c);
    r = scan_between(c);
    f->begin = r == 1 ? f->scanned - 1 : f->scanned;
    f->depth = r == 1 ? 1 : 0;
    return r < 0 ? r : 0;
}

/* The frame that is being scanned, if it is too long. Return: 0; -EFBIG. */
static int check_length(struct json_stream *f)
{
    if (f->scanned - f->begin > f->max_bytes) {
        if (!f->skips_long)
            return -EFBIG;
        f->is_skipping = true;
    }
    if (f->is_skipping)
        f->begin = f->scanned;
    return 0;
}

int json_stream_next(struct json_stream *f, const char **ret_frame, size_t *ret_len)
{
    wipe_used(f); /* now, as it may be long until the next bytes come */
    while (f->scanned < f->buf.len) {
        int r = scan(f, f->buf.data[f->scanned++]), result = check_length(f);

        if (r < 0 || result < 0)
            return r < 0 ? r : result;
        if (r == 0)
            continue;
        if (f->is_skipping) {
            f->is_skipping = false;
            return FRAMES_TOO_LONG;
        }
        *ret_frame = f->buf.data + f->begin;
        *ret_len = f->scanned - f->begin;
        f->begin = f->scanned;
        return 0;
    }
    if (f->begin == f->buf.len)
        drop_used(f);
    return FRAMES_NONE;
}

bool json_stream_is_partial(const struct json_stream *f)
{
    return f->depth > 0;
}
