/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For readers of `kubectl describe pod`:
 *
 *   VolumeHeld             the newest content cannot be shown, and why
 *   VolumeUpdateFailed     publishing failed or does not end, and why; it is retried
 *   CertificateProblem     a certificate is invalid or expired
 *   CertificateNotRenewed  a podCertificate source keeps its last certificate, and why
 *   OlderContentDropped    readers kept too much older content open, and lost the oldest of it
 *   SubPathNotLive         the pod mounts a part by subPath that does not follow updates
 *   UpdateNotSignalled     with onUpdate: the last update reached no process, or not all, and why
 *   VolumeCurrent          the end of the first four, when none of them is left
 *
 * Those of lost_mounts.c are posted here, too.
 *
 * They concern volumes that were mounted: why a volume is not mounted at all is in the answer to
 * the kubelet, which makes an event of it. They are posted with the identity of the volume's
 * source; without a pod, or with manifests as source, there are none. pod_events.c limits them: an
 * event that is deferred, or that the API server did not take, is posted later if it is still true.
 */
#include "node/volume_events.h"

#include <stdio.h>

#include "node/exchange.h"

enum condition {
    HELD = 1 << 0,
    UPDATE_FAILED = 1 << 1,
    CERTIFICATE = 1 << 2,
    NOT_LIVE = 1 << 3,
    DROPPED = 1 << 4,
    NOT_RENEWED = 1 << 5,
    END = 1 << 6, /* of others: VolumeCurrent is due */
    NOT_SIGNALLED = 1 << 7,
};

/* Their end is an event, too. */
#define LOUD        (~((unsigned)NOT_LIVE | (unsigned)DROPPED | (unsigned)NOT_SIGNALLED))
#define STAYS       "; the last content stays readable"
#define TIMER_SLACK SPAN_MS(100)

struct node_volume_events {
    struct node_metrics *metrics;
    struct pod_events *events;
    struct node_volumes *volumes;
    span_us check_after;
    sd_event_source *timer; /* off, or set */
    bool is_set;
};

/* ---- later */

void node_volume_events_check_later(struct node_volume_events *events)
{
    if (events->is_set || sd_event_source_set_time_relative(events->timer, events->check_after) < 0)
        return;
    events->is_set = sd_event_source_set_enabled(events->timer, SD_EVENT_ONESHOT) >= 0;
}

static bool visit_to_check(void *userdata, struct node_volume *volume)
{
    struct node_volume_events *events = userdata;

    node_volume_events_check(events, volume);
    if (volume->deferred_events != 0 || published_is_pending(&volume->published))
        node_volume_events_check_later(events);
    return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume_events *events = userdata;

    events->is_set = false;
    node_volumes_visit(events->volumes, visit_to_check, events);
    return 0;
}

static void defer(struct node_volume_events *events, struct node_volume *v, enum condition event)
{
    v->deferred_events |= event;
    v->reported_events &= ~(unsigned)event;
    if (event == END)
        v->reported_events |= END;
    node_volume_events_check_later(events);
}

struct failed {
    struct node_volume_events *events;
    const struct pod_event_outcome *outcome;
};

static bool visit_failed(void *userdata, struct node_volume *volume)
{
    const struct failed *failed = userdata;

    if (volume->number != failed->outcome->owner)
        return true;
    defer(failed->events, volume, (enum condition)failed->outcome->tag);
    return false;
}

static void on_event_done(void *userdata, const struct pod_event_outcome *outcome)
{
    struct node_volume_events *events = userdata;
    struct failed failed = {events, outcome};

    node_metrics_count_event(events->metrics, pod_event_result_name(outcome->result));
    if (outcome->result == POD_EVENT_FAILED)
        node_volumes_visit(events->volumes, visit_failed, &failed);
}

/* ---- */

int node_volume_events_new(sd_event *event, const struct node_volume_events_options *options,
                           struct node_volume_events **ret_events)
{
    _cleanup_(node_volume_events_freep) struct node_volume_events *events =
        calloc(1, sizeof(*events));
    const struct pod_events_options pod_options = {
        .component = options->driver_name,
        .node_id = options->node_id,
        .calls = &exchange_calls_of_api_source,
        .done = on_event_done,
        .userdata = events,
    };
    int r = events != NULL ? pod_events_new(&pod_options, &events->events) : -ENOMEM;

    if (r == 0)
        r = sd_event_add_time_relative(event, &events->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK,
                                       on_timer, events);
    if (r >= 0)
        r = sd_event_source_set_enabled(events->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    events->metrics = options->metrics;
    events->volumes = options->volumes;
    events->check_after = options->check_after;
    *ret_events = TAKE(events);
    return 0;
}

struct node_volume_events *node_volume_events_free(struct node_volume_events *events)
{
    if (events == NULL)
        return NULL;
    sd_event_source_disable_unref(events->timer);
    pod_events_free(events->events);
    free(events);
    return NULL;
}

void node_volume_events_forget(struct node_volume_events *events, const struct source *source)
{
    pod_events_forget(events->events, source);
}

int node_volume_events_post(struct node_volume_events *events, struct source *source,
                            const struct pod_event *event)
{
    return pod_events_post(events->events, source, event, clock_mono());
}

/* ---- texts */

/* What an event says beside the volume's object. */
struct event_text {
    const char *reason;
    const char *text;
    const char *consequence; /* NULL: none */
    bool is_note;
};

/* Return: 0, or -EAGAIN when a limit defers it. */
static int post(struct node_volume_events *events, const struct node_volume *v, enum condition tag,
                const struct event_text *text)
{
    char message[ERROR_TEXT_MAX + PUBLISHED_TEXT_SIZE + 96];
    const struct pod_event event = {.namespace = v->namespace,
                                    .pod = v->pod,
                                    .pod_uid = v->pod_uid,
                                    .reason = text->reason,
                                    .message = message,
                                    .is_warning = !text->is_note,
                                    .owner = v->number,
                                    .tag = tag};

    snprintf(message, sizeof(message), "%s: %s%s", PUBLISHED_TEXT(&v->published), text->text,
             text->consequence != NULL ? text->consequence : "");
    return pod_events_post(events->events, v->identity->source, &event, clock_mono());
}

static int post_certificate(struct node_volume_events *events, const struct node_volume *v)
{
    struct error problem = ERROR_INIT;

    for (size_t i = 0; i < v->spec->n_sources && problem.text[0] == '\0'; i++) {
        const struct tls_pair *pair = volume_tls(v->published.volume, i);

        if (pair != NULL)
            tls_pair_problem(pair, clock_wall(), &problem);
    }
    return post(events, v, CERTIFICATE,
                &(struct event_text){.reason = "CertificateProblem", .text = problem.text});
}

/* Return: why a certificate of the pod is not renewed; NULL: none fails. Borrowed. */
static const char *renewal_problem(const struct node_volume *v)
{
    for (size_t i = 0; i < v->spec->n_sources; i++) {
        const struct store_view *view = volume_view(v->published.volume, i);

        if (view->key->kind == OBJECT_POD_CERTIFICATE && view->source_state == STORE_SOURCE_FAILING)
            return kept_error_text(&view->source_error);
    }
    return NULL;
}

static int post_failed_update(struct node_volume_events *events, const struct node_volume *v)
{
    const struct published *p = &v->published;
    char text[ERROR_TEXT_MAX + 32];

    if (published_is_failing(p))
        snprintf(text, sizeof(text), "update failed, retrying: %s",
                 kept_error_text(&p->publish_error));
    else
        snprintf(text, sizeof(text), "update does not end: %s",
                 published_is_blocked(p) ? "a process holds the volume's directory"
                                         : "publishing has not returned; the node is overloaded");
    return post(events, v, UPDATE_FAILED,
                &(struct event_text){"VolumeUpdateFailed", text, STAYS, .is_note = false});
}

static int post_not_signalled(struct node_volume_events *events, const struct node_volume *v)
{
    char text[ERROR_TEXT_MAX + 64];

    snprintf(text, sizeof(text), "the update is visible, but was not signalled: %s",
             kept_error_text(&v->notice.error));
    return post(events, v, NOT_SIGNALLED,
                &(struct event_text){.reason = "UpdateNotSignalled", .text = text});
}

static int post_event(struct node_volume_events *events, const struct node_volume *v,
                      enum condition tag)
{
    static const struct event_text not_live = {
        .reason = "SubPathNotLive",
        .text = "a file or directory of it is mounted by subPath and does not follow updates; set "
                "`updates: in-place`, or allow the driver to list and watch the pods of its node"};
    static const struct event_text dropped = {
        .reason = "OlderContentDropped",
        .text = "readers keep too much older content open and lost the oldest of it (ESTALE)"};
    static const struct event_text current = {
        .reason = "VolumeCurrent", .text = "it is up to date again", .is_note = true};
    const struct event_text held = {
        .reason = "VolumeHeld", .text = volume_error(v->published.volume), .consequence = STAYS};
    const struct event_text not_renewed = {
        .reason = "CertificateNotRenewed", .text = renewal_problem(v), .consequence = STAYS};

    switch (tag) {
    case DROPPED:
        return post(events, v, tag, &dropped);
    case HELD:
        return post(events, v, tag, &held);
    case UPDATE_FAILED:
        return post_failed_update(events, v);
    case CERTIFICATE:
        return post_certificate(events, v);
    case NOT_RENEWED:
        return post(events, v, tag, &not_renewed);
    case NOT_LIVE:
        return post(events, v, tag, &not_live);
    case NOT_SIGNALLED:
        return post_not_signalled(events, v);
    case END:
        return post(events, v, tag, &current);
    }
    return 0;
}

/* ---- conditions */

static unsigned find_conditions(const struct node_volume *v)
{
    const struct published *p = &v->published;
    unsigned conditions = 0;

    if (volume_state(p->volume) == VOLUME_STALE && !volume_is_staged(p->volume))
        conditions |= HELD;
    if (volume_is_checking(p->volume)) /* whether it ends is not known yet */
        conditions |= v->reported_events & HELD;
    if (p->has_dropped)
        conditions |= DROPPED;
    if (published_is_failing(p) || published_is_blocked(p) || published_is_late(p))
        conditions |= UPDATE_FAILED;
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (p->logged_certificates[i])
            conditions |= CERTIFICATE;
    if (renewal_problem(v) != NULL)
        conditions |= NOT_RENEWED;
    if (kept_error_text(&v->notice.error)[0] != '\0')
        conditions |= NOT_SIGNALLED;
    if (p->publisher != NULL) {
        struct publisher_mounted_parts mounts = publisher_mounted_parts(p->publisher);

        if (mounts.n > 0 && !mounts.follow)
            conditions |= NOT_LIVE;
    }
    return conditions;
}

/* Only API sources count requests. */
static bool is_of_api(const struct identity *identity)
{
    return identity->source != NULL && identity->source->ops->count != NULL;
}

/* It is not deferred any more, unless it is again. */
static void try_event(struct node_volume_events *events, struct node_volume *v, enum condition tag)
{
    bool was_deferred = (v->deferred_events & tag) != 0;

    v->deferred_events &= ~(unsigned)tag;
    v->reported_events = tag == END ? v->reported_events & ~LOUD : v->reported_events | tag;
    if (post_event(events, v, tag) == 0)
        return;
    defer(events, v, tag);
    if (!was_deferred)
        node_metrics_count_event(events->metrics, pod_event_result_name(POD_EVENT_DEFERRED));
}

void node_volume_events_check(struct node_volume_events *events, struct node_volume *volume)
{
    static const enum condition all[] = {HELD,    UPDATE_FAILED, CERTIFICATE,  NOT_LIVE,
                                         DROPPED, NOT_RENEWED,   NOT_SIGNALLED};
    unsigned conditions, before = volume->reported_events;
    bool has_ended;

    if (volume->pod == NULL || !volume->was_mounted || !is_of_api(volume->identity))
        return;
    conditions = find_conditions(volume);
    has_ended = (before & LOUD) != 0 && (conditions & LOUD) == 0;
    volume->reported_events &= conditions;
    volume->deferred_events &= conditions | (has_ended ? (unsigned)END : 0);
    for (size_t i = 0; i < ELEMENTS_OF(all); i++)
        if ((conditions & all[i]) != 0 && (before & all[i]) == 0)
            try_event(events, volume, all[i]);
    if (has_ended)
        try_event(events, volume, END);
}
