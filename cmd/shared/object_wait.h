/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * --wait: a command waits for its objects, for a limited time. See object_wait.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "cmd/shared/known_names.h"

/*
 * Say why the objects are missing.
 * Return: -ENOENT if the source has answered that they are; another -errno; with @e.
 */
typedef int object_wait_why_fn(void *userdata, struct error *e);
/* Find what is missing. Return: whether it is known. */
typedef bool object_wait_find_fn(void *userdata, struct missing *ret_missing);
typedef void object_wait_over_fn(void *userdata, const struct error *reason);

struct object_wait_options {
    const struct source_options *from; /* from->wait 0: the first answer decides; SPAN_FOREVER */
    struct source *source;             /* of @from */
    object_wait_why_fn *why;
    object_wait_find_fn *find;
    object_wait_over_fn *over; /* called once, and never after object_wait_end() */
    void *userdata;
};

enum object_wait_phase {
    OBJECT_WAIT_NONE,     /* all zero bytes: it waits for nothing */
    OBJECT_WAIT_SILENT,   /* the source has not answered */
    OBJECT_WAIT_ASKING,   /* it has, and the names that exist are being found */
    OBJECT_WAIT_REPORTED, /* the user knows what is missing */
};

struct object_wait {
    struct object_wait_options options;
    enum object_wait_phase phase;
    struct known_names names;
    struct error reported;   /* why, as it was reported; empty before */
    struct error names_text; /* what was reported with it */
    sd_event_source *timer;  /* NULL without a limit */
};

/* Return: 0; -errno with @e. */
int object_wait_begin(struct object_wait *wait, sd_event *event,
                      const struct object_wait_options *options, struct error *e);

/*
 * An object is missing, and the source has answered. The first time it is reported. Without effect
 * when nothing is awaited.
 */
void object_wait_answered(struct object_wait *wait);

/* The objects are there, or the command ends. */
void object_wait_end(struct object_wait *wait);
