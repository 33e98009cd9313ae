/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   updated(volume) --> update_notifier: when --+--> send(): signaller (thread) --> pod_signal: who
 *                                               +--> systemd, commands
 *                                                        |
 *                       log, metric, Event <-- ended() --+
 *
 * A volume of a pod is signalled; a static volume may have a unit reloaded or a command run. Each
 * volume has one order at most, so the signaller's list is no longer than the node's list of
 * volumes. A volume may go while the signaller has its order.
 */
#include "node/volume_notices.h"

#include <stdio.h>

#include "node/signaller.h"
#include "volume/on_update.h"

struct node_volume_notices {
    struct node_volume_notices_options options;
    struct update_notifier *notifier;
    struct signaller *signaller;
};

static struct node_volume *volume_of(struct update_notice *notice)
{
    return CONTAINER_OF(notice, struct node_volume, notice);
}

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
static void log_signal(const struct node_volume *v, const struct error *e)
{
    if (e->text[0] != '\0')
        log_warn("cannot signal the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal",
                 volume_signal_name(v->spec->update_signal), "reason", e->text);
}

static int send_signal(void *userdata, struct update_notice *notice, struct error *e)
{
    struct node_volume_notices *notices = userdata;
    const struct node_volume *v = volume_of(notice);
    const struct pod_signal signal = make_signal(notices, v);
    int r = signaller_send(notices->signaller, v->number, &signal, e);

    if (r < 0) {
        node_metrics_count_signals(notices->options.metrics, POD_SIGNAL_FAILED, 1);
        log_signal(v, e);
    }
    return r;
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

static struct node_volume *find_volume(const struct node_volume_notices *notices, uint64_t number)
{
    struct search search = {.number = number};

    node_volumes_visit(notices->options.volumes, visit_number, &search);
    return search.found;
}

static void on_signalled(void *userdata, uint64_t owner, const struct pod_signal *signal,
                         const struct pod_signal_result *result)
{
    struct node_volume_notices *notices = userdata;
    struct node_volume *v = find_volume(notices, owner);

    count(notices, result);
    if (v == NULL)
        return;
    if (result->n_sent > 0)
        log_info("signalled the update", "object", PUBLISHED_TEXT(&v->published),
                 PUBLISHED_LOG_POD(&v->published), "signal", volume_signal_name(signal->signal),
                 "processes", LOG_NUM(result->n_sent));
    log_signal(v, &result->e);
    update_notifier_ended(notices->notifier, &v->notice, &result->e);
}

static uint64_t on_shown(void *userdata, struct update_notice *notice)
{
    return node_volume_shown_update(volume_of(notice));
}

static void on_notified(void *userdata, struct update_notice *notice, uint64_t update)
{
    node_volume_note_notified(volume_of(notice), update);
}

static void on_ended(void *userdata, struct update_notice *notice)
{
    const struct node_volume_notices *notices = userdata;

    node_volume_events_check(notices->options.events, volume_of(notice));
}

/* ---- volumes */

void node_volume_notices_updated(struct node_volume_notices *notices, struct node_volume *volume)
{
    if (node_volume_has_consumers(volume) && volume->state == NODE_VOLUME_MOUNTED)
        update_notifier_updated(notices->notifier, &volume->notice);
}

void node_volume_notices_check(struct node_volume_notices *notices, struct node_volume *volume)
{
    update_notifier_resume(notices->notifier, &volume->notice);
}

/* ---- the object */

int node_volume_notices_new(sd_event *event, const struct node_volume_notices_options *options,
                            struct node_volume_notices **ret_notices)
{
    static const struct update_notifier_callbacks callbacks = {
        .send = send_signal, .shown = on_shown, .notified = on_notified, .ended = on_ended};
    _cleanup_(node_volume_notices_freep) struct node_volume_notices *notices =
        calloc(1, sizeof(*notices));
    int r;

    if (notices == NULL)
        return -ENOMEM;
    notices->options = *options;
    r = signaller_new(event, on_signalled, notices, &notices->signaller);
    if (r == 0)
        r = update_notifier_new(event, &unit_bus_system, options->commands, &callbacks, notices,
                                &notices->notifier);
    if (r < 0)
        return r;
    *ret_notices = TAKE(notices);
    return 0;
}

static bool finish(void *userdata, struct node_volume *v)
{
    const struct node_volume_notices *notices = userdata;

    update_notifier_finish(notices->notifier, &v->notice);
    return true;
}

struct node_volume_notices *node_volume_notices_free(struct node_volume_notices *notices)
{
    if (notices == NULL)
        return NULL;
    if (notices->notifier != NULL)
        node_volumes_visit(notices->options.volumes, finish, notices);
    signaller_free(notices->signaller);
    update_notifier_free(notices->notifier);
    free(notices);
    return NULL;
}
