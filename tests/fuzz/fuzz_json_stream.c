/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte gives the length of the pieces, and whether objects that are too long are skipped.
 * In pieces of any length, the objects and the end are the same as in the whole.
 */
#include "fetcher/api/json_stream.h"

#include <stdlib.h>

#define LIMIT       64
#define OBJECTS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    size_t lens[OBJECTS_MAX];
    size_t n;
    int result;
};

static void split(const char *text, size_t size, size_t piece, bool skips_long, struct outcome *ret)
{
    struct json_stream s;

    *ret = (struct outcome){.result = JSON_STREAM_NONE};
    json_stream_init(&s, LIMIT);
    s.skips_long = skips_long;
    for (size_t at = 0; at < size && ret->result == JSON_STREAM_NONE; at += piece) {
        const char *object;
        size_t len;

        if (json_stream_add(&s, text + at, size_min(piece, size - at)) < 0)
            abort();
        while ((ret->result = json_stream_next(&s, &object, &len)) == 0 ||
               ret->result == JSON_STREAM_TOO_LONG) {
            if (ret->result == JSON_STREAM_TOO_LONG)
                len = 0;
            assert(len <= LIMIT && (len == 0 || object[0] == '{'));
            assert(len == 0 || object[len - 1] == '}' || object[len - 1] == ']');
            assert(s.buf.len <= LIMIT + piece);
            if (ret->n < OBJECTS_MAX)
                ret->lens[ret->n] = len;
            ret->n++;
        }
    }
    json_stream_deinit(&s);
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
