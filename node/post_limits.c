/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes about pods must not burden the API server when something happens for every pod at once,
 * nor this program when the server is slow or refuses them:
 *
 *   - a token bucket limits them, for the node;
 *   - after a refusal (4xx) nothing is written with that identity in that namespace for
 *     REFUSED_QUIET. The cause may be the namespace, which has a quota or is being deleted, so the
 *     others go on;
 *   - after a failure of the server or the network nothing is written for a while, which doubles.
 *
 * The first failure and the first refusal in a namespace are logged, and the recovery.
 */
#include "node/post_limits.h"

#include <stdio.h>

#include "base/log.h"

#define REFUSED_QUIET    SPAN_SEC(600)
#define FAILED_QUIET     SPAN_SEC(15)
#define FAILED_QUIET_MAX SPAN_SEC(240)

void post_limits_init(struct post_limits *limits, const struct post_limits_options *options)
{
    *limits = (struct post_limits){.options = options};
}

/* An author of names that collide only suppresses writes about these. */
uint64_t post_limits_hash(uint64_t hash, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        hash = (hash ^ *c) * UINT64_C(0x100000001b3);
    return hash * UINT64_C(0x100000001b3);
}

static uint64_t hash_namespace(const struct source *source, const char *namespace)
{
    return post_limits_hash(POST_LIMITS_HASH ^ (uintptr_t)source, namespace) | 1;
}

/* ---- before a write */

static const struct post_limits_namespace *find_refused(const struct post_limits *limits,
                                                        const struct source *source,
                                                        const char *namespace)
{
    uint64_t hash = hash_namespace(source, namespace);

    for (size_t i = 0; i < POST_LIMITS_REFUSED; i++)
        if (limits->refused[i].hash == hash)
            return &limits->refused[i];
    return NULL;
}

/* Whether a write in that namespace would fail, as earlier ones did. */
static bool is_quiet(const struct post_limits *limits, const struct source *source,
                     const char *namespace, mono_us now)
{
    const struct post_limits_namespace *refused = find_refused(limits, source, namespace);

    return now < limits->failed_until || (refused != NULL && now < refused->until);
}

/* Return: whether there was a token. */
static bool take_token(struct post_limits *limits, mono_us now)
{
    span_us one = SPAN_SEC(60) / limits->options->per_minute;
    span_us full = one * limits->options->burst;

    assert(now >= limits->empty_at);
    if (now - limits->empty_at > full)
        limits->empty_at = now - full;
    if (now - limits->empty_at < one)
        return false;
    limits->empty_at += one;
    return true;
}

bool post_limits_take(struct post_limits *limits, const struct source *source,
                      const char *namespace, mono_us now)
{
    return !is_quiet(limits, source, namespace, now) && take_token(limits, now);
}

/* ---- after it */

static void note_success(struct post_limits *limits)
{
    if (limits->failed_quiet != 0)
        log_info(limits->options->again);
    limits->failed_quiet = 0;
    limits->failed_until = 0;
}

void post_limits_failed(struct post_limits *limits, const char *reason, mono_us started_at)
{
    if (started_at < limits->failed_until)
        return;
    if (limits->failed_quiet == 0)
        log_warn(limits->options->cannot, "reason", reason);
    if (limits->failed_quiet == 0)
        limits->failed_quiet = FAILED_QUIET;
    else if (limits->failed_quiet < FAILED_QUIET_MAX)
        limits->failed_quiet *= 2;
    limits->failed_until = started_at + limits->failed_quiet;
}

/* It replaces the one that ends first. */
static void refuse_namespace(struct post_limits *limits, uint64_t hash, mono_us until)
{
    struct post_limits_namespace *found = &limits->refused[0];

    for (size_t i = 1; i < POST_LIMITS_REFUSED && found->hash != hash; i++)
        if (limits->refused[i].hash == hash || limits->refused[i].until < found->until)
            found = &limits->refused[i];
    *found = (struct post_limits_namespace){.hash = hash, .until = until};
}

/* Logged once for a namespace, unless more than POST_LIMITS_REFUSED of them refuse. */
static void note_refusal(struct post_limits *limits, const struct post *post,
                         const struct exchange *x)
{
    const struct protocol_refusal refusal = exchange_refusal(x, limits->options->allow);
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    if (find_refused(limits, x->source, post->namespace) == NULL)
        log_warn(limits->options->cannot, "namespace", post->namespace, "reason", e.text);
    refuse_namespace(limits, hash_namespace(x->source, post->namespace),
                     post->started_at + REFUSED_QUIET);
}

static bool is_refusal(int status)
{
    return status / 100 == 4 && status != 408 && status != 429;
}

bool post_limits_settle(struct post_limits *limits, const struct post *post,
                        const struct exchange *x, const struct error *error)
{
    char text[64];

    if (error != NULL) {
        post_limits_failed(limits, error->text, post->started_at);
    } else if (x->status / 100 == 2) {
        note_success(limits);
        return true;
    } else if (is_refusal(x->status)) {
        note_refusal(limits, post, x);
    } else {
        snprintf(text, sizeof(text), "the API server answered with status %d", x->status);
        post_limits_failed(limits, text, post->started_at);
    }
    return false;
}
