/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How long a retry waits: 0.8 s, doubling to 30 s, plus up to the same again at random, so that the
 * watches of many nodes do not return together. After two quiet minutes it starts at 0.8 s again.
 * Source: kubelet-semantics.md J11, which is client-go's.
 */
#include "base/clock.h"

#define BACKOFF_FIRST       SPAN_MS(800)
#define BACKOFF_MAX         SPAN_SEC(30) /* before the random part */
#define BACKOFF_QUIET_RESET SPAN_SEC(120)

struct backoff {
    span_us base;      /* of the next wait; 0: BACKOFF_FIRST */
    mono_us last_used; /* 0: never */
};

/*
 * @random: 0 to UINT32_MAX, from the caller
 * @at_least: the server's Retry-After, or 0
 * Return: how long to wait.
 */
span_us backoff_next(struct backoff *b, mono_us now, uint32_t random, span_us at_least);
