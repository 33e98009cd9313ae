/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     NONE --> SILENT --an object is missing--> ASKING --the names that exist--> REPORTED
 *                 \__________________________________________________________________/
 *                        the limit has passed, or all objects are there --> NONE
 *
 * The user learns at once what is missing, and which names there are, since most often the name is
 * misspelled or the namespace another one. With a limit of 0 the command fails then.
 *
 * What is missing may change while the command waits: an object is created, and lacks a key. The
 * names belong to what was reported, and are repeated at the end only with that.
 */
#include "cmd/shared/object_wait.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

#define TIMER_SLACK SPAN_MS(10)

static const unsigned next_phases[] = {
    [OBJECT_WAIT_NONE] = 1u << OBJECT_WAIT_SILENT | 1u << OBJECT_WAIT_NONE,
    [OBJECT_WAIT_SILENT] = 1u << OBJECT_WAIT_ASKING | 1u << OBJECT_WAIT_NONE,
    [OBJECT_WAIT_ASKING] = 1u << OBJECT_WAIT_REPORTED | 1u << OBJECT_WAIT_NONE,
    [OBJECT_WAIT_REPORTED] = 1u << OBJECT_WAIT_NONE,
};

static void move(struct object_wait *w, enum object_wait_phase phase)
{
    assert((next_phases[w->phase] & 1u << phase) != 0);
    w->phase = phase;
}

static double seconds(span_us span)
{
    return (double)span / (double)SPAN_SEC(1);
}

/* Why the objects are missing, with the names that exist if they were found for this. */
static int explain(struct object_wait *w, struct error *e)
{
    struct error why = ERROR_INIT;
    int r = w->options.why(w->options.userdata, &why);

    return error_set(e, r, "%s%s", why.text,
                     streq(why.text, w->reported.text) ? w->names_text.text : "");
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

    explain(w, &e);
    error_prefix(&e, -ETIMEDOUT, "gave up after %g s", seconds(w->options.from->wait));
    give_up(w, &e);
    return 0;
}

int object_wait_begin(struct object_wait *wait, sd_event *event,
                      const struct object_wait_options *options, struct error *e)
{
    struct object_wait *w = wait;
    span_us limit = options->from->wait;
    int r = 0;

    *w = (struct object_wait){.options = *options, .phase = w->phase};
    move(w, OBJECT_WAIT_SILENT);
    if (limit != 0 && limit != SPAN_FOREVER)
        r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, limit, TIMER_SLACK,
                                       on_over, w);
    return r < 0 ? error_set_errno(e, r, "cannot set a timer") : 0;
}

/* ---- reporting */

/* A person at a terminal gets a sentence as the command's errors are. */
static void report_to_terminal(const struct object_wait *w, const struct error *why)
{
    if (w->options.from->wait == SPAN_FOREVER)
        fprintf(stderr, "secretfs: waiting: %s\n", why->text);
    else
        fprintf(stderr, "secretfs: waiting up to %g s: %s\n", seconds(w->options.from->wait),
                why->text);
}

static void report_to_log(const struct object_wait *w, const struct error *why)
{
    char limit[32] = "none";

    if (w->options.from->wait != SPAN_FOREVER)
        snprintf(limit, sizeof(limit), "%g s", seconds(w->options.from->wait));
    log_info("waiting for the object", "reason", why->text, "limit", limit);
}

static void report(struct object_wait *w)
{
    struct error why = ERROR_INIT;

    explain(w, &why);
    if (isatty(STDERR_FILENO) && w->options.from->log_format == LOG_FORMAT_TEXT)
        report_to_terminal(w, &why);
    else
        report_to_log(w, &why);
}

static void on_names(void *userdata, const char *text)
{
    struct object_wait *w = userdata;
    struct error e = ERROR_INIT;

    error_set(&w->names_text, 0, "%s", text);
    move(w, OBJECT_WAIT_REPORTED);
    if (w->options.from->wait != 0) {
        report(w);
        return;
    }
    explain(w, &e);
    give_up(w, &e);
}

/* @why: what is reported, with the names */
static void ask(struct object_wait *w, const struct error *why)
{
    struct missing missing;

    w->reported = *why;
    move(w, OBJECT_WAIT_ASKING);
    if (w->options.find(w->options.userdata, &missing))
        known_names_begin(&w->names, w->options.from, w->options.source, &missing, on_names, w);
    else
        on_names(w, "");
}

/* A source that fails is logged by itself. */
void object_wait_answered(struct object_wait *wait)
{
    struct object_wait *w = wait;
    struct error why = ERROR_INIT;
    int r;

    if (w->phase != OBJECT_WAIT_SILENT)
        return;
    r = w->options.why(w->options.userdata, &why);
    if (r == -ENOENT)
        ask(w, &why);
    else if (w->options.from->wait == 0)
        give_up(w, &why);
}

void object_wait_end(struct object_wait *wait)
{
    move(wait, OBJECT_WAIT_NONE);
    known_names_end(&wait->names);
    wait->timer = sd_event_source_disable_unref(wait->timer);
}
