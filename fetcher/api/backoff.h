/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How long to wait before trying again: doubling from 0.8 s to 30 s, with a random part of up to
 * the same again so that the watches of many nodes do not return together, and from the beginning
 * after two quiet minutes.
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
 * @at_least: what the server asked for (Retry-After), or 0
 * Return: how long to wait.
 */
span_us backoff_next(struct backoff *b, mono_us now, uint32_t random, span_us at_least);
