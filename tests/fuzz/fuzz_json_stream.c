/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte says into pieces of which length the rest is cut, and whether frames that are too
 * long are skipped. However it is cut, the frames are the same as those of the whole, and so is the
 * end.
 */
#include "fetcher/api/json_stream.h"

#include <stdlib.h>

#define LIMIT      64
#define FRAMES_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    size_t lens[FRAMES_MAX];
    size_t n;
    int result;
};

static void split(const char *text, size_t size, size_t piece, bool skips_long, struct outcome *ret)
{
    struct json_stream f;

    *ret = (struct outcome){.result = FRAMES_NONE};
    json_stream_init(&f, LIMIT);
    f.skips_long = skips_long;
    for (size_t at = 0; at < size && ret->result == FRAMES_NONE; at += piece) {
        const char *frame;
        size_t len;

        if (json_stream_add(&f, text + at, size_min(piece, size - at)) < 0)
            abort();
        while ((ret->result = json_stream_next(&f, &frame, &len)) == 0 ||
               ret->result == FRAMES_TOO_LONG) {
            if (ret->result == FRAMES_TOO_LONG)
                len = 0;
            assert(len <= LIMIT && (len == 0 || frame[0] == '{'));
            assert(len == 0 || frame[len - 1] == '}' || frame[len - 1] == ']');
            assert(f.buf.len <= LIMIT + piece);
            if (ret->n < FRAMES_MAX)
                ret->lens[ret->n] = len;
            ret->n++;
        }
    }
    json_stream_deinit(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    struct outcome pieces, single;

    if (size == 0)
        return 0;
    split(text, size - 1, data[0] % LIMIT + 1, (data[0] & LIMIT) != 0, &pieces);
    split(text, size - 1, 1, (data[0] & LIMIT) != 0, &single);
    assert(pieces.n == single.n && pieces.result == single.result);
    assert(memcmp(pieces.lens, single.lens, sizeof(pieces.lens)) == 0);
    return 0;
}
