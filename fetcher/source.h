/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A source: where objects come from. It watches the keys that the store asks for and puts what it
 * finds into the store. There are two, made by api_source_new() and manifest_source_new().
 *
 * Thread: the event loop's.
 */
#include <cjson/cJSON.h>
#include <systemd/sd-event.h>

#include "cache/store.h"

struct source;
struct http_stats;

/* What a source has done so far. */
struct source_counts {
    const struct http_stats *requests; /* of a client that others may share; borrowed; or NULL */
    size_t n_watches;                  /* with a request under way */
    unsigned long n_restarts;          /* of watches that had ended */
};

struct source_ops {
    struct store_source store; /* watch and unwatch, with the struct source * as userdata */
    /* Add to a status document what this source is and does: an object's members, no secrets. */
    int (*describe)(const struct source *source, cJSON *status);
    /* NULL for one that counts nothing. */
    void (*count)(const struct source *source, struct source_counts *ret_counts);
    void (*free)(struct source *source);
};

/* Embedded at the start of every source. */
struct source {
    const struct source_ops *ops;
};

/* Return: NULL; NULL is fine. */
static inline struct source *source_free(struct source *source)
{
    if (source != NULL)
        source->ops->free(source);
    return NULL;
}
DEFINE_CLEANUP(struct source *, source_free)
