/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How many requests may begin in a second, and how many of them at once; none while the server asks
 * for a pause. After a pause they begin evenly, without a burst.
 */
#include "base/clock.h"

struct rate_limit {
    span_us interval;     /* between two requests; 0: no limit */
    span_us tolerance;    /* how far ahead of that they may be: the burst */
    mono_us due;          /* of the next request, if all had come evenly */
    mono_us paused_until; /* 0: never paused */
};

/* @per_sec: 0 for no limit. @burst: at least 1. */
void rate_limit_init(struct rate_limit *limit, unsigned per_sec, unsigned burst);

/* Return: 0, and the request counts; or how long to wait before the next try. */
span_us rate_limit_take(struct rate_limit *limit, mono_us now);

/* For a request that counted before: how long to wait, 0 unless there is a pause. */
span_us rate_limit_pause_left(const struct rate_limit *limit, mono_us now);

/* No request for @span from now on; a longer pause that has begun stays. */
void rate_limit_pause(struct rate_limit *limit, mono_us now, span_us span);
