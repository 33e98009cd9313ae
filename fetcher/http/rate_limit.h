/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How fast requests follow each other: some at once, then so many a second, and none while the
 * server asks for a rest. After one they begin again evenly, not with another burst.
 */
#include "base/clock.h"

struct rate_limit {
    span_us interval;     /* between two of them; 0: no limit */
    span_us tolerance;    /* how far ahead of that they may be: the burst */
    mono_us due;          /* when the next one would be, if they had always come evenly */
    mono_us paused_until; /* 0: never was */
};

/* @per_sec: 0 for no limit. @burst: at least 1. */
void rate_limit_init(struct rate_limit *pace, unsigned per_sec, unsigned burst);

/* Return: 0, and the request counts; or how long to wait before asking again. */
span_us pace_take(struct rate_limit *pace, mono_us now);

/* No request for @span from now on; a rest that is under way is not made shorter. */
void rate_limit_pause(struct rate_limit *pace, mono_us now, span_us span);
