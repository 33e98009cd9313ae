/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The versions of its objects that a volume has shown last. Pure. */
#include <stddef.h>
#include <time.h>

#define HISTORY_MAX          8u  /* of all objects of a volume; each takes 56 bytes */
#define HISTORY_VERSION_SIZE 32u /* a resourceVersion is a number of 20 digits at most */

struct history_entry {
    size_t source; /* of the volume's spec */
    char version[HISTORY_VERSION_SIZE];
    struct timespec at;
};

/* All zero bytes: nothing was shown. */
struct history {
    struct history_entry entries[HISTORY_MAX];
    size_t n; /* so far; the newest is at (n - 1) % HISTORY_MAX */
};

/* @version: copied; "" is ignored */
void history_add(struct history *history, size_t source, const char *version, struct timespec at);

/* @i: 0 is the oldest that is kept. Return: borrowed until the next change; NULL: no more. */
const struct history_entry *history_get(const struct history *history, size_t i);
