/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The word that a misspelled one was meant to be: the known word with the fewest bytes to insert,
 * remove, replace or swap with their neighbours, without regard to case (Levenshtein's distance,
 * with transpositions). A word that it begins, as "stat" does "status", is one step away.
 */
#include <stddef.h>
#include <string.h>

/* Longer words are not compared: options and fields have 26, names of objects seldom more. */
#define NEAREST_WORD_MAX_LEN 64

/*
 * The bytes to insert, remove or replace, and pairs to swap.
 * @a_len, @b_len: NEAREST_WORD_MAX_LEN at most
 * Thread: any.
 */
unsigned nearest_distance(const char *a, size_t a_len, const char *b, size_t b_len);

/* Begins with NEAREST_INIT; each known word is offered once. */
struct nearest {
    const char *word; /* that was misspelled; need not be terminated */
    size_t word_len;
    size_t found_len; /* 0: no known word is near */
    const char *found;
    unsigned distance; /* of @found; a word that is not nearer is not taken */
};
/* Beyond a third of its bytes it is another word. */
#define NEAREST_INIT(word_, len_)                                                                  \
    {                                                                                              \
        .word = (word_), .word_len = (len_), .distance = (unsigned)((len_) + 1) / 3 + 1            \
    }

/* @known: borrowed until the last use of @nearest; need not be terminated. Thread: any. */
void nearest_offer(struct nearest *nearest, const char *known, size_t len);
