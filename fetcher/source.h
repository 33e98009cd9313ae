/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A source delivers objects: it watches the keys that the store requests, and puts their objects
 * into the store. api_source_new() and manifest_source_new() make the two kinds.
 *
 * Thread: the event loop's.
 */
#include <cjson/cJSON.h>
#include <systemd/sd-event.h>

#include "cache/store.h"

struct source;
struct http_stats;

/* Counters of a source. */
struct source_counts {
    const struct http_stats
        *requests;            /* of a client that other sources may share; borrowed; NULL: none */
    size_t n_watches;         /* with a request under way */
    unsigned long n_restarts; /* of watches that had ended */
};

struct source_ops {
    struct store_source store; /* watch and unwatch, with the struct source * as userdata */
    /* Add members to this source's object in a status document; no secrets. */
    int (*describe)(const struct source *source, cJSON *status);
    /* Add what helps to debug the source; no secrets. NULL: nothing. Return: 0 or -ENOMEM. */
    int (*debug)(const struct source *source, cJSON *status);
    /* NULL: no counters. */
    void (*count)(const struct source *source, struct source_counts *ret_counts);
    void (*free)(struct source *source);
};

/* The first member of every source. */
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
