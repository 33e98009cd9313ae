/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/object_wait.h"

#include <stdio.h>

#include "base/log.h"

#define TIMER_SLACK SPAN_MS(10)

static double seconds(span_us span)
{
    return (double)span / (double)SPAN_SEC(1);
}

static void give_up(struct object_wait *w, const struct error *reason)
{
    object_wait_end(w);
    w->options.over(w->options.userdata, reason);
}

static int on_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct object_wait *w = userdata;
    struct error e = ERROR_INIT;

    w->options.why(w->options.userdata, &e);
    error_prefix(&e, -ETIMEDOUT, "gave up after %g s", seconds(w->options.limit));
    give_up(w, &e);
    return 0;
}

int object_wait_begin(struct object_wait *wait, sd_event *event,
                      const struct object_wait_options *options, struct error *e)
{
    struct object_wait *w = wait;
    int r = 0;

    assert(!w->is_waiting);
    *w = (struct object_wait){.options = *options, .is_waiting = true};
    if (options->limit != 0 && options->limit != SPAN_FOREVER)
        r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, options->limit,
                                       TIMER_SLACK, on_over, w);
    return r < 0 ? error_set_errno(e, r, "cannot set a timer") : 0;
}

/* A source that fails is logged by itself. */
static void report(struct object_wait *w, const struct error *why)
{
    char limit[32] = "none";

    if (w->options.limit != SPAN_FOREVER)
        snprintf(limit, sizeof(limit), "%g s", seconds(w->options.limit));
    w->is_reported = true;
    log_info("waiting for the object", "reason", why->text, "limit", limit);
}

void object_wait_answered(struct object_wait *wait)
{
    struct object_wait *w = wait;
    struct error e = ERROR_INIT;
    int r;

    if (!w->is_waiting)
        return;
    r = w->options.why(w->options.userdata, &e);
    if (w->options.limit == 0)
        give_up(w, &e);
    else if (r == -ENOENT && !w->is_reported)
        report(w, &e);
}

void object_wait_end(struct object_wait *wait)
{
    wait->is_waiting = false;
    wait->timer = sd_event_source_disable_unref(wait->timer);
}
