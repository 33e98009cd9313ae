/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/watch_clock.h"

#include <sys/random.h>

#define TIMER_SLACK SPAN_MS(1) /* retries and limits are of some hundred milliseconds */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    const struct watch_clock *clock = userdata;

    clock->elapsed(clock->userdata);
    return 0;
}

int watch_clock_init(struct watch_clock *clock, sd_event *event, watch_clock_fn *elapsed,
                     void *userdata)
{
    int r;

    *clock = (struct watch_clock){.elapsed = elapsed, .userdata = userdata};
    r = sd_event_add_time_relative(event, &clock->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_timer,
                                   clock);
    if (r >= 0)
        r = sd_event_source_set_enabled(clock->timer, SD_EVENT_OFF);
    return r < 0 ? r : 0;
}

void watch_clock_deinit(struct watch_clock *clock)
{
    clock->timer = sd_event_source_disable_unref(clock->timer);
}

void watch_clock_set(struct watch_clock *clock, span_us delay)
{
    /* neither can fail for a source that exists */
    if (delay != SPAN_FOREVER)
        sd_event_source_set_time(clock->timer, clock_mono() + delay);
    sd_event_source_set_enabled(clock->timer,
                                delay != SPAN_FOREVER ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

mono_us watch_clock_now(void *userdata)
{
    return clock_mono();
}

uint32_t watch_clock_random(void *userdata)
{
    uint32_t random;

    /* it cannot fail after boot; nothing but the spread of retries depends on it */
    return getrandom(&random, sizeof(random), 0) == sizeof(random) ? random : 0;
}
