/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a watch needs of the world besides its requests: one timer, the time, and random numbers
 * that spread its retries. It stands behind the set_timer, now and random of reflector.h and
 * pod_watch.h.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"

typedef void watch_clock_fn(void *userdata);

/* Its fields are watch_clock.c's; zeroed before watch_clock_init(). May not be moved after it. */
struct watch_clock {
    sd_event_source *timer;
    watch_clock_fn *elapsed;
    void *userdata;
};

/*
 * The timer is off.
 * @elapsed: called from the event loop when the timer runs out; it may set the timer again and
 *           deinit the clock.
 * Return: 0; -ENOMEM or another -errno of sd-event: still to be given to watch_clock_deinit().
 */
int watch_clock_init(struct watch_clock *clock, sd_event *event, watch_clock_fn *elapsed,
                     void *userdata);
/* Also of a zeroed one. */
void watch_clock_deinit(struct watch_clock *clock);

/* @delay: until elapsed() is called, once, in place of what was set before; SPAN_FOREVER: never. */
void watch_clock_set(struct watch_clock *clock, span_us delay);

/* @userdata: ignored; these are the watches' callbacks as they are. */
mono_us watch_clock_now(void *userdata);
uint32_t watch_clock_random(void *userdata);
