/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Names that exist, for a person who gave one that does not: the nearest first, and not more than a
 * line of them. See nearest.h for what near is.
 *
 * Thread: any.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define NAME_LIST_SHOWN_MAX    8 /* with names of 20 bytes, two lines of a terminal */
/* A longer name counts, and is not shown: a text has 511 bytes. */
#define NAME_LIST_NAME_MAX_LEN 63

/* Takes a name from its source. @name: borrowed during the call */
typedef void name_fn(void *userdata, const char *name);

struct name_list_entry {
    unsigned distance;
    char name[NAME_LIST_NAME_MAX_LEN + 1];
};

/* Begins with NAME_LIST_INIT. */
struct name_list {
    const char *wanted;                                /* borrowed */
    struct name_list_entry shown[NAME_LIST_SHOWN_MAX]; /* the nearest, in order */
    size_t n_shown;
    size_t n;     /* names that were offered */
    bool is_part; /* there are more, which were not offered */
};
#define NAME_LIST_INIT(wanted_)                                                                    \
    {                                                                                              \
        .wanted = (wanted_)                                                                        \
    }

/* A name_fn. @list: a struct name_list; @name: copied. Names of the same distance are in the order
 * of strcmp(3). */
void name_list_offer(void *list, const char *name);

/* The same, unless the name is shown already: for sources that repeat names. The number of those
 * that are not shown may then be too large. */
void name_list_offer_once(struct name_list *list, const char *name);

/* Write "db, web", "db, web and 3 more", or "none". */
void name_list_print(const struct name_list *list, struct error *ret_text);
