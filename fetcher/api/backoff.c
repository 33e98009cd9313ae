/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/backoff.h"

span_us backoff_next(struct backoff *b, mono_us now, uint32_t random, span_us at_least)
{
    span_us base = b->base;
    span_us wait;

    if (base == 0 || now - b->last_used > BACKOFF_QUIET_RESET)
        base = BACKOFF_FIRST;
    b->base = base * 2 < BACKOFF_MAX ? base * 2 : BACKOFF_MAX;
    b->last_used = now;
    wait = base + ((base * random) >> 32);
    return wait > at_least ? wait : at_least;
}
