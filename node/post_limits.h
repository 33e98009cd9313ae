/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Limits for what a node writes about its pods to API servers: Events, and conditions. See
 * post_limits.c.
 *
 * Thread: the event loop's.
 */
#include "node/exchange.h"

#define POST_LIMITS_REFUSED 64 /* namespaces */

struct post_limits_options {
    unsigned per_minute;
    unsigned burst;
    const char *cannot; /* begins the log lines of a failure: "cannot post events on pods" */
    const char *again;  /* the line of a recovery */
    const char *allow;  /* the remedy of a 403: ": allow this identity to create events" */
};

/* An identity's writes in a namespace, which the API server refused. */
struct post_limits_namespace {
    uint64_t hash; /* of the source and the name; 0: unused */
    mono_us until;
};

/* Embedded; the members are post_limits.c's. */
struct post_limits {
    const struct post_limits_options *options;
    struct post_limits_namespace refused[POST_LIMITS_REFUSED];
    mono_us empty_at; /* when the bucket was last empty: the time since then is its fill */
    mono_us failed_until;
    span_us failed_quiet; /* 0: the last one succeeded; else the failure was logged */
};

/* @options: outlive the object */
void post_limits_init(struct post_limits *limits, const struct post_limits_options *options);

/*
 * Whether a write may be sent now; it counts then.
 * @source: with whose credentials
 */
bool post_limits_take(struct post_limits *limits, const struct source *source,
                      const char *namespace, mono_us now);

/* A write that was sent. */
struct post {
    const char *namespace;
    mono_us started_at; /* others in flight may have failed since */
};

/*
 * A write has come to its end.
 * @error: of the exchange's done()
 * Return: whether the API server accepted it.
 */
bool post_limits_settle(struct post_limits *limits, const struct post *post,
                        const struct exchange *x, const struct error *error);
/* It could not be sent. */
void post_limits_failed(struct post_limits *limits, const char *reason, mono_us started_at);

/* FNV-1a, for tables of what was written. Begin with POST_LIMITS_HASH. */
#define POST_LIMITS_HASH UINT64_C(0xcbf29ce484222325)
uint64_t post_limits_hash(uint64_t hash, const char *text);
