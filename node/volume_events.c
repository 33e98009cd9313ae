/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For readers of `kubectl describe pod`:
 *
 *   VolumeHeld           the newest content cannot be shown, and why
 *   VolumeUpdateFailed   publishing failed, and why; it is retried
 *   CertificateProblem   a certificate is invalid or expired
 *   OlderContentDropped  readers kept too much older content open, and lost the oldest of it
 *   SubPathNotLive       the pod mounts a part by subPath that does not follow updates
 *   VolumeCurrent        the end of the first three
 *
 * They concern volumes that were mounted: why a volume is not mounted at all is in the answer to
 * the kubelet, which makes an event of it. They are posted with the identity of the volume's
 * source; without a pod, or with manifests as source, there are none. pod_events.c limits them.
 */
#include "node/volume_events.h"

#include <stdio.h>

#include "fetcher/api/api_source.h"

enum condition {
    HELD = 1 << 0,
    UPDATE_FAILED = 1 << 1,
    CERTIFICATE = 1 << 2,
    NOT_LIVE = 1 << 3,
    DROPPED = 1 << 4,
};

#define ENDS_SILENTLY ((unsigned)NOT_LIVE | (unsigned)DROPPED)
#define STAYS         "; the last content stays readable"

struct node_volume_events {
    struct node_metrics *metrics;
    struct pod_events *events;
};

static void on_event_done(void *userdata, enum pod_event_result result)
{
    const struct node_volume_events *events = userdata;

    node_metrics_count_event(events->metrics, pod_event_result_name(result));
}

int node_volume_events_new(const struct node_volume_events_options *options,
                           struct node_volume_events **ret_events)
{
    _cleanup_(node_volume_events_freep) struct node_volume_events *events =
        calloc(1, sizeof(*events));
    const struct pod_events_options pod_options = {
        .component = options->driver_name,
        .node_id = options->node_id,
        .send = api_source_send,
        .cancel = http_request_free,
        .done = on_event_done,
        .userdata = events,
    };
    int r = events != NULL ? pod_events_new(&pod_options, &events->events) : -ENOMEM;

    if (r < 0)
        return r;
    events->metrics = options->metrics;
    *ret_events = TAKE(events);
    return 0;
}

struct node_volume_events *node_volume_events_free(struct node_volume_events *events)
{
    if (events == NULL)
        return NULL;
    pod_events_free(events->events);
    free(events);
    return NULL;
}

void node_volume_events_forget(struct node_volume_events *events, const struct source *source)
{
    pod_events_forget(events->events, source);
}

static void post(struct node_volume_events *events, const struct node_volume *v, const char *reason,
                 bool is_warning, const char *text, const char *consequence)
{
    char message[ERROR_TEXT_MAX + PUBLISHED_TEXT_SIZE + 96];
    const struct pod_event event = {.namespace = v->namespace,
                                    .pod = v->pod,
                                    .pod_uid = v->pod_uid,
                                    .reason = reason,
                                    .message = message,
                                    .is_warning = is_warning};

    snprintf(message, sizeof(message), "%s: %s%s", PUBLISHED_TEXT(&v->published), text,
             consequence);
    pod_events_post(events->events, v->identity->source, &event, clock_mono());
}

static void post_certificate(struct node_volume_events *events, const struct node_volume *v)
{
    struct error problem = ERROR_INIT;

    for (size_t i = 0; i < v->spec->n_sources && problem.text[0] == '\0'; i++) {
        const struct tls_pair *pair = volume_tls(v->published.volume, i);

        if (pair != NULL)
            tls_pair_problem(pair, clock_wall(), &problem);
    }
    post(events, v, "CertificateProblem", true, problem.text, "");
}

static void post_failed_update(struct node_volume_events *events, const struct node_volume *v)
{
    const struct published *p = &v->published;
    char text[ERROR_TEXT_MAX + 32];

    if (published_is_blocked(p))
        snprintf(text, sizeof(text), "update does not end: a process holds the volume's directory");
    else
        snprintf(text, sizeof(text), "update failed, retrying: %s",
                 kept_error_text(&p->publish_error));
    post(events, v, "VolumeUpdateFailed", true, text, STAYS);
}

static void post_condition(struct node_volume_events *events, const struct node_volume *v,
                           enum condition condition)
{
    static const char not_live[] =
        "a file or directory of it is mounted by subPath and does not follow updates; set "
        "`updates: in-place`, or allow the driver to list and watch the pods of its node";

    switch (condition) {
    case DROPPED:
        post(events, v, "OlderContentDropped", true,
             "readers keep too much older content open and lost the oldest of it (ESTALE)", "");
        break;
    case HELD:
        post(events, v, "VolumeHeld", true, volume_error(v->published.volume), STAYS);
        break;
    case UPDATE_FAILED:
        post_failed_update(events, v);
        break;
    case CERTIFICATE:
        post_certificate(events, v);
        break;
    case NOT_LIVE:
        post(events, v, "SubPathNotLive", true, not_live, "");
        break;
    }
}

static unsigned find_conditions(const struct node_volume *v)
{
    const struct published *p = &v->published;
    unsigned conditions = 0;

    if (volume_state(p->volume) == VOLUME_STALE)
        conditions |= HELD;
    if (p->has_dropped)
        conditions |= DROPPED;
    if (published_is_failing(p) || published_is_blocked(p))
        conditions |= UPDATE_FAILED;
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (p->logged_certificates[i])
            conditions |= CERTIFICATE;
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

void node_volume_events_check(struct node_volume_events *events, struct node_volume *volume)
{
    static const enum condition all[] = {HELD, UPDATE_FAILED, CERTIFICATE, NOT_LIVE, DROPPED};
    unsigned conditions, before = volume->reported_events;

    if (volume->pod == NULL || !volume->was_mounted || !is_of_api(volume->identity))
        return;
    conditions = find_conditions(volume);
    volume->reported_events = conditions;
    for (size_t i = 0; i < ELEMENTS_OF(all); i++)
        if ((conditions & all[i]) != 0 && (before & all[i]) == 0)
            post_condition(events, volume, all[i]);
    if ((before & ~ENDS_SILENTLY) != 0 && conditions == 0)
        post(events, volume, "VolumeCurrent", false, "it is up to date again", "");
}
