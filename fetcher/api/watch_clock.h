/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A watch's timer, clock and random numbers, on the event loop: set_timer, now and random of struct
 * watch_io.
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
 * @elapsed: called from the event loop; it may set the timer again and deinit the clock
 * Return: 0; -ENOMEM or another -errno of sd-event. In any case it needs watch_clock_deinit().
 */
int watch_clock_init(struct watch_clock *clock, sd_event *event, watch_clock_fn *elapsed,
                     void *userdata);
/* A zeroed clock is fine. */
void watch_clock_deinit(struct watch_clock *clock);

/* @delay: until elapsed() is called, once; replaces the previous delay; SPAN_FOREVER: never. */
void watch_clock_set(struct watch_clock *clock, span_us delay);

/* @userdata: ignored; these are callbacks of struct watch_io. */
mono_us watch_clock_now(void *userdata);
uint32_t watch_clock_random(void *userdata);
