/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Splits a stream of JSON objects that follow each other, such as the response to a watch, into
 * single objects; its bytes arrive in pieces of any length. It counts brackets outside of strings;
 * the parser finds out whether an object is valid JSON.
 *
 * The bytes may be secret: they are wiped as soon as an object was used.
 */
#include "base/buf.h"

struct json_stream {
    struct buf buf;
    size_t max_bytes; /* of one object */
    size_t begin;     /* of the object that is being scanned; the bytes before it were used */
    size_t scanned;   /* end of the scanned bytes */
    size_t wiped;     /* end of the wiped bytes */
    unsigned depth;   /* of brackets, at scanned */
    bool is_in_string;
    bool is_escaped;  /* after a backslash in a string */
    bool skips_long;  /* may be set by the owner: an object above max_bytes is not an error */
    bool is_skipping; /* within such an object */
};

/* @max_bytes: of one object. */
void json_stream_init(struct json_stream *s, size_t max_bytes);
/* Wiped and empty, as after json_stream_init(); skips_long stays. */
void json_stream_reset(struct json_stream *s);
void json_stream_deinit(struct json_stream *s);

/*
 * Add bytes as they arrive. Invalidates the object that json_stream_next() returned last.
 * Return: 0; -ENOMEM; -EFBIG when the caller did not take out the objects as they came.
 */
int json_stream_add(struct json_stream *s, const char *bytes, size_t len) MUST_CHECK;

/*
 * Take out the next complete object.
 * @ret_text: @ret_len bytes, borrowed until the next call, which wipes them
 * Return: 0; JSON_STREAM_NONE when no object is complete yet; JSON_STREAM_TOO_LONG, with skips_long
 * only, when an object above the limit was skipped; -EFBIG for such an object otherwise; -EINVAL
 * for bytes that cannot be part of a JSON object. After an error only reset and deinit may be
 * called.
 */
#define JSON_STREAM_NONE     1
#define JSON_STREAM_TOO_LONG 2
int json_stream_next(struct json_stream *s, const char **ret_text, size_t *ret_len) MUST_CHECK;
