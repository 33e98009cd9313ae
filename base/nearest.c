/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <strings.h>

#include "base/util.h"

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static bool is_same(char a, char b)
{
    return strncasecmp(&a, &b, 1) == 0;
}

/* @a, @b: one behind the two bytes of each. Whether they are the same in the other order. */
static bool is_swapped(const char *a, const char *b)
{
    return is_same(a[-1], b[-2]) && is_same(a[-2], b[-1]);
}

unsigned nearest_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    /* of the first i bytes of a, i - 1 and i - 2, and the first j of b; each i has a row's turn */
    unsigned rows[3][NEAREST_WORD_MAX_LEN + 1];

    assert(a_len <= NEAREST_WORD_MAX_LEN && b_len <= NEAREST_WORD_MAX_LEN);
    for (unsigned j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i - 1) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned replaced = above[j - 1] + !is_same(a[i - 1], b[j - 1]);

            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && is_swapped(a + i, b + j))
                row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

/* Fewer bytes are the beginning of too many words. */
#define SHORTENED_MIN_LEN 3

static bool is_shortened(const struct nearest *nearest, const char *known, size_t len)
{
    return nearest->word_len >= SHORTENED_MIN_LEN && nearest->word_len < len &&
           strncasecmp(nearest->word, known, nearest->word_len) == 0;
}

void nearest_offer(struct nearest *nearest, const char *known, size_t len)
{
    unsigned distance;

    if (len > NEAREST_WORD_MAX_LEN || nearest->word_len > NEAREST_WORD_MAX_LEN)
        return;
    distance = is_shortened(nearest, known, len)
                   ? 1
                   : nearest_distance(nearest->word, nearest->word_len, known, len);
    if (distance >= nearest->distance || distance >= len)
        return;
    nearest->distance = distance;
    nearest->found = known;
    nearest->found_len = len;
}
