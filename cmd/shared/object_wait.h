/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * --wait: a command waits for its objects, for a limited time.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/error.h"

/*
 * Say why the objects are missing.
 * Return: -ENOENT if the source has answered that they are; another -errno; with @e.
 */
typedef int object_wait_why_fn(void *userdata, struct error *e);
typedef void object_wait_over_fn(void *userdata, const struct error *reason);

struct object_wait_options {
    span_us limit; /* 0: the first answer decides; SPAN_FOREVER */
    object_wait_why_fn *why;
    object_wait_over_fn *over; /* called once, and never after object_wait_end() */
    void *userdata;
};

/* All zero bytes: it waits for nothing. */
struct object_wait {
    struct object_wait_options options;
    bool is_waiting;
    bool is_reported;
    sd_event_source *timer; /* NULL without a limit */
};

/* Return: 0; -errno with @e. */
int object_wait_begin(struct object_wait *wait, sd_event *event,
                      const struct object_wait_options *options, struct error *e);

/*
 * An object is missing, and the source has answered. The first time it is logged. Without effect
 * when nothing is awaited.
 */
void object_wait_answered(struct object_wait *wait);

/* The objects are there, or the command ends. */
void object_wait_end(struct object_wait *wait);
