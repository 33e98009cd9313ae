/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   updated(volume) --> signal_pace: when --> signaller (thread) --> pod_signal: who
 *                                                   |
 *         log, metric, Event of the pod <-- done ---+
 *
 * One timer serves all volumes: it is set to the earliest time at which one is due. Each volume has
 * one order at most, so the signaller's list is no longer than the node's list of volumes.
 *
 * A volume that an earlier process has served is signalled from its next update on.
 */
#include "node/volume_signals.h"

#include <stdio.h>

#include "node/signaller.h"
#include "volume/on_update.h"

#define TIMER_SLACK SPAN_MS(10)

struct node_volume_signals {
    struct node_volume_signals_options options;
    struct signaller *signaller;
    sd_event_source *timer;
    mono_us timer_at; /* SPAN_FOREVER: off */
};

/* ---- sending */

static struct pod_signal make_signal(const struct node_volume_signals *signals,
                                     const struct node_volume *v)
{
    const struct volume_spec *spec = v->spec;
    struct pod_signal signal = {.device =
                                    node_file_systems_device(signals->options.file_systems, v->fs),
                                .signal = spec->update_signal};

    snprintf(signal.pod_uid, sizeof(signal.pod_uid), "%s", v->pod_uid);
    snprintf(signal.directory, sizeof(signal.directory), "%s", v->id);
    snprintf(signal.container, sizeof(signal.container), "%s",
             spec->update_container != NULL ? spec->update_container : "");
    snprintf(signal.process, sizeof(signal.process), "%s",
             spec->update_process != NULL ? spec->update_process : "");
    return signal;
}

/* @e: empty: each process got the signal */
static void note_error(struct node_volume_signals *signals, struct node_volume *v,
                       const struct error *e)
{
    if (e->text[0] != '\0')
        log_warn("cannot signal the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal",
                 volume_signal_name(v->spec->update_signal), "reason", e->text);
    kept_error_set(&v->signal_error, e->text);
    node_volume_events_check(signals->options.events, v);
}

static void send(struct node_volume_signals *signals, struct node_volume *v, mono_us now)
{
    const struct pod_signal signal = make_signal(signals, v);
    struct error e = ERROR_INIT;

    signal_pace_begin(&v->signal_pace, now);
    if (signaller_send(signals->signaller, v->number, &signal, &e) == 0)
        return; /* on_done() follows */
    signal_pace_end(&v->signal_pace);
    node_metrics_count_signals(signals->options.metrics, POD_SIGNAL_FAILED, 1);
    note_error(signals, v, &e);
}

static void set_timer(struct node_volume_signals *signals, mono_us at)
{
    if (at >= signals->timer_at || sd_event_source_set_time(signals->timer, at) < 0)
        return;
    if (sd_event_source_set_enabled(signals->timer, SD_EVENT_ONESHOT) >= 0)
        signals->timer_at = at;
}

static bool send_if_due(void *userdata, struct node_volume *v)
{
    struct node_volume_signals *signals = userdata;
    mono_us now = clock_mono(), due = signal_pace_due(&v->signal_pace);

    if (due <= now)
        send(signals, v, now);
    else
        set_timer(signals, due);
    return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume_signals *signals = userdata;

    signals->timer_at = SPAN_FOREVER;
    node_volumes_visit(signals->options.volumes, send_if_due, signals);
    return 0;
}

/* A volume without a pod's uid has no processes. */
void node_volume_signals_updated(struct node_volume_signals *signals, struct node_volume *volume)
{
    if (volume->spec->update_signal == 0 || volume->pod_uid == NULL ||
        volume->state != NODE_VOLUME_MOUNTED)
        return;
    signal_pace_update(&volume->signal_pace);
    send_if_due(signals, volume);
}

/* ---- results */

static void count(const struct node_volume_signals *signals, const struct pod_signal_result *result)
{
    bool is_none = result->n_sent == 0 && result->n_failed == 0;

    node_metrics_count_signals(signals->options.metrics, POD_SIGNAL_SENT, result->n_sent);
    node_metrics_count_signals(signals->options.metrics, POD_SIGNAL_FAILED, result->n_failed);
    node_metrics_count_signals(signals->options.metrics, POD_SIGNAL_NONE, is_none);
}

struct finished {
    struct node_volume_signals *signals;
    uint64_t owner;
    const struct pod_signal_result *result;
};

static bool visit_finished(void *userdata, struct node_volume *v)
{
    const struct finished *finished = userdata;

    if (v->number != finished->owner)
        return true;
    signal_pace_end(&v->signal_pace);
    if (finished->result->n_sent > 0)
        log_info("signalled the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal",
                 volume_signal_name(v->spec->update_signal), "processes",
                 LOG_NUM(finished->result->n_sent));
    note_error(finished->signals, v, &finished->result->e);
    send_if_due(finished->signals, v);
    return false;
}

/* The volume may be gone. */
static void on_done(void *userdata, uint64_t owner, const struct pod_signal *signal,
                    const struct pod_signal_result *result)
{
    struct node_volume_signals *signals = userdata;
    struct finished finished = {signals, owner, result};

    count(signals, result);
    node_volumes_visit(signals->options.volumes, visit_finished, &finished);
}

/* ---- the object */

int node_volume_signals_new(sd_event *event, const struct node_volume_signals_options *options,
                            struct node_volume_signals **ret_signals)
{
    _cleanup_(node_volume_signals_freep) struct node_volume_signals *signals =
        calloc(1, sizeof(*signals));
    int r;

    if (signals == NULL)
        return -ENOMEM;
    signals->options = *options;
    signals->timer_at = SPAN_FOREVER;
    r = signaller_new(event, on_done, signals, &signals->signaller);
    if (r == 0)
        r = sd_event_add_time(event, &signals->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_timer,
                              signals);
    if (r >= 0)
        r = sd_event_source_set_enabled(signals->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_signals = TAKE(signals);
    return 0;
}

static bool send_pending(void *userdata, struct node_volume *v)
{
    if (v->signal_pace.state == SIGNAL_PACE_PENDING)
        send(userdata, v, clock_mono());
    return true;
}

struct node_volume_signals *node_volume_signals_free(struct node_volume_signals *signals)
{
    if (signals == NULL)
        return NULL;
    if (signals->signaller != NULL)
        node_volumes_visit(signals->options.volumes, send_pending, signals);
    signaller_free(signals->signaller);
    sd_event_source_disable_unref(signals->timer);
    free(signals);
    return NULL;
}
