/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <strings.h>

#include "base/util.h"

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned nearest_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[NEAREST_WORD_MAX_LEN + 1];

    assert(a_len <= NEAREST_WORD_MAX_LEN && b_len <= NEAREST_WORD_MAX_LEN);
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; i < a_len; i++) {
        unsigned diagonal = row[0]++;

        for (size_t j = 0; j < b_len; j++) {
            unsigned replaced = diagonal + (strncasecmp(a + i, b + j, 1) != 0);

            diagonal = row[j + 1];
            row[j + 1] = least(replaced, least(diagonal, row[j]) + 1);
        }
    }
    return row[b_len];
}

void nearest_offer(struct nearest *nearest, const char *known, size_t len)
{
    unsigned distance;

    if (len > NEAREST_WORD_MAX_LEN || nearest->word_len > NEAREST_WORD_MAX_LEN)
        return;
    distance = nearest_distance(nearest->word, nearest->word_len, known, len);
    if (distance >= nearest->distance || distance >= len)
        return;
    nearest->distance = distance;
    nearest->found = known;
    nearest->found_len = len;
}
