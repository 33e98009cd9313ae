/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A round: the timer fires on the loop, each publisher is probed (its thread, and through the mount
 * the workers), and when the last one has answered on the loop, the service manager is notified and
 * the timer is set for half of its limit. So a notification shows that all of these threads
 * respond. If one of them does not, there is no next round, and the service manager restarts the
 * process.
 *
 * The first round is at once when the first publisher is added: before that there is no mount whose
 * readers could wait.
 *
 * A health check begins a round, too, also without a service manager, and reports how long the
 * threads have not responded. Two rounds never overlap: the timer and a health check share the one
 * under way.
 */
#include "serve/watchdog.h"

#include "serve/service_manager.h"

struct watchdog {
    struct publisher *publishers[WATCHDOG_PUBLISHERS_MAX];
    size_t n_publishers;
    size_t n_awaited; /* answers to the probes of this round */
    sd_event_source *timer;
    span_us interval;
    mono_us began_at; /* the round under way, or the last one */
    mono_us ended_at; /* the last round; 0 before the first */
};

static void on_probed(void *userdata)
{
    struct watchdog *w = userdata;

    assert(w->n_awaited > 0 && w->n_awaited <= w->n_publishers);
    if (--w->n_awaited > 0)
        return;
    w->ended_at = clock_mono();
    if (w->timer == NULL)
        return;
    service_manager_alive();
    sd_event_source_set_time(w->timer, clock_mono() + w->interval);
    sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Begin a round, unless one is under way. */
static void probe_all(struct watchdog *w)
{
    if (w->n_awaited > 0)
        return;
    w->began_at = clock_mono();
    w->n_awaited = w->n_publishers;
    for (size_t i = 0; i < w->n_publishers; i++)
        publisher_probe(w->publishers[i], on_probed, w);
}

/* Without an answer the timer stays off, and the service manager restarts the process. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct watchdog *w = userdata;

    assert(w->n_publishers > 0);
    probe_all(w);
    return 0;
}

/* ---- health checks */

int watchdog_state(bool is_awaiting, mono_us began_at, mono_us ended_at, mono_us now,
                   struct error *e)
{
    if (is_awaiting && now - began_at >= WATCHDOG_HUNG_AFTER)
        return error_set(e, -ETIMEDOUT,
                         "the publisher or the FUSE workers have not responded for %llu s; if they "
                         "do not recover, restart the daemon",
                         (unsigned long long)((now - began_at) / SPAN_SEC(1)));
    if (is_awaiting || ended_at == 0 || now - ended_at > WATCHDOG_VALID_FOR)
        return WATCHDOG_PENDING;
    return 0;
}

int watchdog_check(struct watchdog *watchdog, struct error *e)
{
    struct watchdog *w = watchdog;
    int r = watchdog_state(w->n_awaited > 0, w->began_at, w->ended_at, clock_mono(), e);

    if (r == WATCHDOG_PENDING)
        probe_all(w);
    return r;
}

int watchdog_new(sd_event *event, struct watchdog **ret_watchdog)
{
    _cleanup_(watchdog_freep) struct watchdog *w = calloc(1, sizeof(*w));
    span_us limit = service_manager_watchdog_limit();
    int r;

    if (w == NULL)
        return -ENOMEM;
    w->interval = limit / 2; /* as sd_watchdog_enabled(3) recommends */
    if (limit != 0) {
        r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, 0, limit / 10, on_timer,
                                       w);
        if (r < 0)
            return r;
        sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
    }
    *ret_watchdog = TAKE(w);
    return 0;
}

void watchdog_add(struct watchdog *watchdog, struct publisher *publisher)
{
    assert(watchdog->n_publishers < WATCHDOG_PUBLISHERS_MAX);
    if (watchdog->n_publishers == 0 && watchdog->timer != NULL)
        sd_event_source_set_enabled(watchdog->timer, SD_EVENT_ONESHOT);
    watchdog->publishers[watchdog->n_publishers++] = publisher;
}

struct watchdog *watchdog_free(struct watchdog *watchdog)
{
    if (watchdog == NULL)
        return NULL;
    sd_event_source_disable_unref(watchdog->timer);
    free(watchdog);
    return NULL;
}
