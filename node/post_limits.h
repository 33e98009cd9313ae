/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Limits for what a node writes about its pods to API servers: Events, and conditions. See
 * post_limits.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/api/protocol.h"
#include "fetcher/source.h"

#define POST_LIMITS_REFUSED 64 /* namespaces */

struct post_limits_options {
    unsigned per_minute;
    unsigned burst;
    const char *cannot; /* begins the log lines of a failure: "cannot post events on pods" */
    const char *again;  /* the line of a recovery */
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

/* The outcome of a write. @started_at: when it was sent; others in flight may have failed since */
void post_limits_succeeded(struct post_limits *limits);
void post_limits_failed(struct post_limits *limits, const char *reason, mono_us started_at);
void post_limits_refused(struct post_limits *limits, const struct source *source,
                         const char *namespace, const struct protocol_refusal *refusal,
                         mono_us started_at);

/* Whether a status refuses the write, rather than being a failure of the server. */
bool post_limits_is_refusal(int status);

/* FNV-1a, for tables of what was written. Begin with POST_LIMITS_HASH. */
#define POST_LIMITS_HASH UINT64_C(0xcbf29ce484222325)
uint64_t post_limits_hash(uint64_t hash, const char *text);
