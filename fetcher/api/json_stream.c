/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte is scanned once and moved once at most: used objects are dropped from the front of the
 * buffer when new bytes are added, and what moves then is shorter than the bytes that were added
 * last, as long as the caller takes out every complete object before it adds more.
 *
 * Of an object that is too long and skipped, no more is kept than of any other.
 *
 * Control characters within a string are refused, as in JSON, which keeps NUL bytes from the
 * parser.
 */
#include "fetcher/api/json_stream.h"

void json_stream_init(struct json_stream *s, size_t max_bytes)
{
    /* a complete object may be followed by a part of the next one, in the same piece */
    *s = (struct json_stream){.buf = BUF_INIT(2 * max_bytes), .max_bytes = max_bytes};
}

void json_stream_deinit(struct json_stream *s)
{
    buf_deinit(&s->buf);
}

void json_stream_reset(struct json_stream *s)
{
    bool skips_long = s->skips_long;

    json_stream_deinit(s);
    json_stream_init(s, s->max_bytes);
    s->skips_long = skips_long;
}

/* Wipe the objects before s->begin, and keep their space. */
static void wipe_used(struct json_stream *s)
{
    if (s->wiped < s->begin)
        explicit_bzero(s->buf.data + s->wiped, s->begin - s->wiped);
    s->wiped = s->begin;
}

/* Wipe the objects before s->begin, and move the rest to the front. */
static void drop_used(struct json_stream *s)
{
    if (s->begin == 0)
        return;
    wipe_used(s);
    if (s->begin == s->buf.len)
        buf_deinit(&s->buf); /* the next event may arrive much later */
    else
        buf_drop_front(&s->buf, s->begin);
    s->scanned -= s->begin;
    s->begin = 0;
    s->wiped = 0;
    assert(s->scanned <= s->buf.len);
}

int json_stream_add(struct json_stream *s, const char *bytes, size_t len)
{
    drop_used(s);
    return buf_add(&s->buf, bytes, len);
}

/* One byte between objects. Return: 1 if an object begins with it; 0 for white space; -EINVAL. */
static int scan_between(char c)
{
    if (c == '{')
        return 1;
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' ? 0 : -EINVAL;
}

/* One byte within a string. */
static int scan_string(struct json_stream *s, char c)
{
    if ((unsigned char)c < 0x20)
        return -EINVAL;
    if (s->is_escaped)
        s->is_escaped = false;
    else if (c == '\\')
        s->is_escaped = true;
    else if (c == '"')
        s->is_in_string = false;
    return 0;
}

/* One byte within an object and outside of strings. Return: 1 if the object ends with it. */
static int scan_structure(struct json_stream *s, char c)
{
    switch (c) {
    case '"':
        s->is_in_string = true;
        return 0;
    case '{':
    case '[':
        s->depth++;
        return 0;
    case '}':
    case ']':
        assert(s->depth > 0);
        return --s->depth == 0;
    case '\0':
        return -EINVAL;
    default:
        return 0;
    }
}

/* One byte. Return: 1 if an object ends with it; 0; -EINVAL. */
static int scan(struct json_stream *s, char c)
{
    int r;

    if (s->is_in_string)
        return scan_string(s, c);
    if (s->depth > 0)
        return scan_structure(s, c);
    r = scan_between(c);
    s->begin = r == 1 ? s->scanned - 1 : s->scanned;
    s->depth = r == 1 ? 1 : 0;
    return r < 0 ? r : 0;
}

/* Whether the object that is being scanned is too long. Return: 0; -EFBIG. */
static int check_length(struct json_stream *s)
{
    if (s->scanned - s->begin > s->max_bytes) {
        if (!s->skips_long)
            return -EFBIG;
        s->is_skipping = true;
    }
    if (s->is_skipping)
        s->begin = s->scanned;
    return 0;
}

int json_stream_next(struct json_stream *s, const char **ret_text, size_t *ret_len)
{
    wipe_used(s); /* now, as the next bytes may arrive much later */
    while (s->scanned < s->buf.len) {
        int r = scan(s, s->buf.data[s->scanned++]), result = check_length(s);

        if (r < 0 || result < 0)
            return r < 0 ? r : result;
        if (r == 0)
            continue;
        if (s->is_skipping) {
            s->is_skipping = false;
            return JSON_STREAM_TOO_LONG;
        }
        *ret_text = s->buf.data + s->begin;
        *ret_len = s->scanned - s->begin;
        s->begin = s->scanned;
        return 0;
    }
    if (s->begin == s->buf.len)
        drop_used(s);
    return JSON_STREAM_NONE;
}
