/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Divides a stream of JSON objects that follow each other, as a watch's response has them, into
 * single ones, however the bytes are cut on their way. It only counts brackets outside of strings:
 * whether an object is JSON shows when it is parsed.
 *
 * The bytes may be secret: they are wiped as soon as a frame was used.
 */
#include "base/buf.h"

struct json_stream {
    struct buf buf;
    size_t max_bytes; /* of one frame */
    size_t begin;     /* where the frame that is being scanned begins; what is before was used */
    size_t scanned;   /* how far it was looked at */
    size_t wiped;     /* how far used frames were wiped */
    unsigned depth;   /* of brackets, at scanned */
    bool is_in_string;
    bool is_escaped;  /* after a backslash in a string */
    bool skips_long;  /* may be set by the owner: a frame above max_bytes is no error */
    bool is_skipping; /* within such a frame */
};

/* @max_bytes: of one frame. */
void json_stream_init(struct json_stream *f, size_t max_bytes);
/* Wiped and empty, as after json_stream_init(); skips_long stays. */
void json_stream_reset(struct json_stream *f);
void json_stream_deinit(struct json_stream *f);

/*
 * Add bytes as they come. Ends the life of a frame that json_stream_next() gave out.
 * Return: 0; -ENOMEM; -EFBIG when frames were not taken out as they came.
 */
int json_stream_add(struct json_stream *f, const char *bytes, size_t len) MUST_CHECK;

/*
 * Take out the next complete frame.
 * @ret_frame: @ret_len bytes, borrowed until the next call, which wipes them
 * Return: 0; FRAMES_NONE when there is no complete one yet; -EINVAL for bytes that can not be part
 * of a JSON object; -EFBIG for a frame above the limit, with skips_long FRAMES_TOO_LONG instead
 * when it was skipped. After an error only reset and deinit are of use.
 */
#define FRAMES_NONE     1
#define FRAMES_TOO_LONG 2
int json_stream_next(struct json_stream *f, const char **ret_frame, size_t *ret_len) MUST_CHECK;

/* Whether the stream stands within a frame. */
bool json_stream_is_partial(const struct json_stream *f);
