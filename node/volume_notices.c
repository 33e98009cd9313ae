/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   updated(volume) --> update_pace: when --+--> signaller (thread) --> pod_signal: who
 *                                           +--> unit_reloads --> systemd
 *                                           +--> commands: of the administrator
 *                                                    |
 *                   log, metric, Event <-- done -----+
 *
 * A volume of a pod is signalled, a static volume may have a unit reloaded. One timer serves all
 * volumes: it is set to the earliest time at which one is due. Each volume has one order at most,
 * so the lists of the signaller and of reloads are no longer than the node's list of volumes.
 *
 * At least once: the volume's record says which update consumers know of, and only when they have
 * been notified (node_volume_note_notified()). Another one that readers see when the next process
 * takes the volume over is pending there from the beginning. So a notification that was under way
 * when this process was killed is repeated.
 */
#include "node/volume_notices.h"

#include <stdio.h>

#include "node/signaller.h"
#include "node/unit_reloads.h"
#include "volume/on_update.h"

#define TIMER_SLACK SPAN_MS(10)

struct node_volume_notices {
    struct node_volume_notices_options options;
    struct signaller *signaller;
    struct unit_reloads *reloads;
    sd_event_source *timer;
    mono_us timer_at; /* SPAN_FOREVER: off */
    bool is_ending;
};

/* ---- sending */

static struct pod_signal make_signal(const struct node_volume_notices *notices,
                                     const struct node_volume *v)
{
    const struct volume_spec *spec = v->spec;
    struct pod_signal signal = {.device =
                                    node_file_systems_device(notices->options.file_systems, v->fs),
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
static void note_signalled(struct node_volume_notices *notices, struct node_volume *v,
                           const struct error *e)
{
    if (e->text[0] != '\0')
        log_warn("cannot signal the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal",
                 volume_signal_name(v->spec->update_signal), "reason", e->text);
    kept_error_set(&v->signal_error, e->text);
    node_volume_events_check(notices->options.events, v);
}

static int send_signal(struct node_volume_notices *notices, struct node_volume *v)
{
    const struct pod_signal signal = make_signal(notices, v);
    struct error e = ERROR_INIT;
    int r = signaller_send(notices->signaller, v->number, &signal, &e);

    if (r < 0) {
        node_metrics_count_signals(notices->options.metrics, POD_SIGNAL_FAILED, 1);
        note_signalled(notices, v, &e);
    }
    return r;
}

/* @e: empty: it was reloaded */
static void note_reloaded(struct node_volume *v, const struct error *e)
{
    kept_error_set(&v->signal_error, e->text);
    if (e->text[0] != '\0')
        log_warn("cannot reload a unit after an update", "object", PUBLISHED_TEXT(&v->published),
                 "unit", v->reload_unit, "reason", e->text);
    else
        log_info("reloaded a unit after an update", "object", PUBLISHED_TEXT(&v->published), "unit",
                 v->reload_unit);
}

static int request_reload(struct node_volume_notices *notices, struct node_volume *v)
{
    struct error e = ERROR_INIT;
    int r = unit_reloads_start(notices->reloads, v->number, v->reload_unit, &e);

    if (r < 0)
        note_reloaded(v, &e);
    return r;
}

/* @e: empty: its exit status is 0 */
static void note_command(struct node_volume *v, const struct error *e)
{
    kept_error_set(&v->signal_error, e->text);
    if (e->text[0] != '\0')
        log_warn("a command after an update failed", "object", PUBLISHED_TEXT(&v->published),
                 "command", v->update_command, "reason", e->text);
    else
        log_info("ran a command after an update", "object", PUBLISHED_TEXT(&v->published),
                 "command", v->update_command);
}

static void notify_if_due_again(struct node_volume *v);

/* What came meanwhile is pending. */
static void end_notice(struct node_volume *v)
{
    update_pace_end(&v->update_pace);
    if (v->update_pace.state == UPDATE_PACE_IDLE)
        node_volume_note_notified(v, v->notifying);
}

static void on_command_done(void *userdata, const struct payload *unused, int result,
                            const struct error *e)
{
    struct node_volume *v = userdata;

    v->update_run = NULL; /* it was freed */
    end_notice(v);
    note_command(v, e);
    notify_if_due_again(v);
}

static int run_command(struct node_volume_notices *notices, struct node_volume *v)
{
    const struct commands_order order = {
        .name = v->update_command, .volume = PUBLISHED_TEXT(&v->published), .target = v->target};
    struct error e = ERROR_INIT;
    int r = commands_run(notices->options.commands, &order, on_command_done, v, &v->update_run, &e);

    v->update_notices = notices;
    if (r < 0)
        note_command(v, &e);
    return r;
}

static int request(struct node_volume_notices *notices, struct node_volume *v)
{
    if (v->reload_unit != NULL)
        return request_reload(notices, v);
    return v->update_command != NULL ? run_command(notices, v) : send_signal(notices, v);
}

/* on_signalled(), on_reloaded() or on_command_done() ends it. */
static void notify(struct node_volume_notices *notices, struct node_volume *v, mono_us now)
{
    int r;

    update_pace_begin(&v->update_pace, now);
    v->notifying = node_volume_shown_update(v);
    r = request(notices, v);
    if (r < 0)
        end_notice(v);
}

static void set_timer(struct node_volume_notices *notices, mono_us at)
{
    if (at >= notices->timer_at || sd_event_source_set_time(notices->timer, at) < 0)
        return;
    if (sd_event_source_set_enabled(notices->timer, SD_EVENT_ONESHOT) >= 0)
        notices->timer_at = at;
}

static bool notify_if_due(void *userdata, struct node_volume *v)
{
    struct node_volume_notices *notices = userdata;
    mono_us now = clock_mono(), due = update_pace_due(&v->update_pace);

    if (due <= now)
        notify(notices, v, now);
    else
        set_timer(notices, due);
    return true;
}

static void notify_if_due_again(struct node_volume *v)
{
    notify_if_due(v->update_notices, v);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume_notices *notices = userdata;

    notices->timer_at = SPAN_FOREVER;
    node_volumes_visit(notices->options.volumes, notify_if_due, notices);
    return 0;
}

void node_volume_notices_check(struct node_volume_notices *notices, const struct node_volume *v)
{
    mono_us due = update_pace_due(&v->update_pace);

    if (due != SPAN_FOREVER)
        set_timer(notices, due);
}

void node_volume_notices_updated(struct node_volume_notices *notices, struct node_volume *volume)
{
    if (!node_volume_has_consumers(volume) || volume->state != NODE_VOLUME_MOUNTED)
        return;
    update_pace_update(&volume->update_pace);
    notify_if_due(notices, volume);
}

/* ---- results */

static void count(const struct node_volume_notices *notices, const struct pod_signal_result *result)
{
    bool is_none = result->n_sent == 0 && result->n_failed == 0;

    node_metrics_count_signals(notices->options.metrics, POD_SIGNAL_SENT, result->n_sent);
    node_metrics_count_signals(notices->options.metrics, POD_SIGNAL_FAILED, result->n_failed);
    node_metrics_count_signals(notices->options.metrics, POD_SIGNAL_NONE, is_none);
}

struct search {
    uint64_t number;
    struct node_volume *found; /* NULL: it is gone */
};

static bool visit_number(void *userdata, struct node_volume *v)
{
    struct search *search = userdata;

    if (v->number == search->number)
        search->found = v;
    return search->found == NULL;
}

/* Return: the volume, which may be notified again; NULL: it is gone. */
static struct node_volume *end_notice_of(const struct node_volume_notices *notices, uint64_t owner)
{
    struct search search = {.number = owner};

    node_volumes_visit(notices->options.volumes, visit_number, &search);
    if (search.found != NULL)
        end_notice(search.found);
    return search.found;
}

static void on_signalled(void *userdata, uint64_t owner, const struct pod_signal *signal,
                         const struct pod_signal_result *result)
{
    struct node_volume_notices *notices = userdata;
    struct node_volume *v = end_notice_of(notices, owner);

    count(notices, result);
    if (v == NULL)
        return;
    if (result->n_sent > 0)
        log_info("signalled the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal", volume_signal_name(signal->signal),
                 "processes", LOG_NUM(result->n_sent));
    note_signalled(notices, v, &result->e);
    if (!notices->is_ending)
        notify_if_due(notices, v);
}

static void on_reloaded(void *userdata, uint64_t owner, const struct error *e)
{
    struct node_volume_notices *notices = userdata;
    struct node_volume *v = end_notice_of(notices, owner);

    if (v == NULL)
        return;
    if (notices->is_ending && e->text[0] == '\0')
        return; /* systemd has the job, and nothing is known of its end */
    note_reloaded(v, e);
    if (!notices->is_ending)
        notify_if_due(notices, v);
}

/* ---- the object */

int node_volume_notices_new(sd_event *event, const struct node_volume_notices_options *options,
                            struct node_volume_notices **ret_notices)
{
    _cleanup_(node_volume_notices_freep) struct node_volume_notices *notices =
        calloc(1, sizeof(*notices));
    int r;

    if (notices == NULL)
        return -ENOMEM;
    notices->options = *options;
    notices->timer_at = SPAN_FOREVER;
    r = signaller_new(event, on_signalled, notices, &notices->signaller);
    if (r == 0)
        r = unit_reloads_new(event, sd_bus_open_system, on_reloaded, notices, &notices->reloads);
    if (r == 0)
        r = sd_event_add_time(event, &notices->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_timer,
                              notices);
    if (r >= 0)
        r = sd_event_source_set_enabled(notices->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_notices = TAKE(notices);
    return 0;
}

static bool notify_pending(void *userdata, struct node_volume *v)
{
    if (v->update_pace.state == UPDATE_PACE_PENDING && v->update_command == NULL)
        notify(userdata, v, clock_mono());
    return true;
}

struct node_volume_notices *node_volume_notices_free(struct node_volume_notices *notices)
{
    if (notices == NULL)
        return NULL;
    notices->is_ending = true;
    if (notices->signaller != NULL && notices->reloads != NULL)
        node_volumes_visit(notices->options.volumes, notify_pending, notices);
    signaller_free(notices->signaller);
    unit_reloads_free(notices->reloads);
    sd_event_source_disable_unref(notices->timer);
    free(notices);
    return NULL;
}
