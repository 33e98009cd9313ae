/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/rate_limit.h"

void rate_limit_init(struct rate_limit *limit, unsigned per_sec, unsigned burst)
{
    *limit = (struct rate_limit){.interval = per_sec > 0 ? SPAN_SEC(1) / per_sec : 0};
    limit->tolerance = limit->interval * (burst > 0 ? burst - 1 : 0);
}

span_us rate_limit_pause_left(const struct rate_limit *limit, mono_us now)
{
    return now < limit->paused_until ? limit->paused_until - now : 0;
}

span_us rate_limit_take(struct rate_limit *limit, mono_us now)
{
    span_us pause = rate_limit_pause_left(limit, now);

    if (pause > 0)
        return pause;
    if (limit->interval == 0)
        return 0;
    if (limit->due > now + limit->tolerance)
        return limit->due - limit->tolerance - now;
    limit->due = (limit->due > now ? limit->due : now) + limit->interval;
    return 0;
}

void rate_limit_pause(struct rate_limit *limit, mono_us now, span_us span)
{
    if (now + span <= limit->paused_until)
        return;
    limit->paused_until = now + span;
    limit->due = limit->paused_until + limit->tolerance;
}
