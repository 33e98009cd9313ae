/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/rate_limit.h"

void rate_limit_init(struct rate_limit *pace, unsigned per_sec, unsigned burst)
{
    *pace = (struct rate_limit){.interval = per_sec > 0 ? SPAN_SEC(1) / per_sec : 0};
    pace->tolerance = pace->interval * (burst > 0 ? burst - 1 : 0);
}

span_us pace_take(struct rate_limit *pace, mono_us now)
{
    if (now < pace->paused_until)
        return pace->paused_until - now;
    if (pace->interval == 0)
        return 0;
    if (pace->due > now + pace->tolerance)
        return pace->due - pace->tolerance - now;
    pace->due = (pace->due > now ? pace->due : now) + pace->interval;
    return 0;
}

void rate_limit_pause(struct rate_limit *pace, mono_us now, span_us span)
{
    if (now + span <= pace->paused_until)
        return;
    pace->paused_until = now + span;
    pace->due = pace->paused_until + pace->tolerance;
}
