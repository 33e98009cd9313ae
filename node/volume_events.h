/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Events on pods whose volume does not show the newest content. See volume_events.c.
 *
 * Thread: the event loop's.
 */
#include "node/metrics.h"
#include "node/pod_events.h"
#include "node/volume.h"
#include "node/volumes.h"

/* Until volumes are checked again whose events were deferred, or whose update is pending. */
#define NODE_VOLUME_EVENTS_CHECK_AFTER SPAN_SEC(5)

struct node_volume_events;

struct node_volume_events_options {
    const char *driver_name; /* borrowed, like the next two */
    const char *node_id;
    struct node_metrics *metrics; /* counts the events */
    struct node_volumes *volumes; /* borrowed until the events are freed */
    span_us check_after;          /* NODE_VOLUME_EVENTS_CHECK_AFTER, or less in a test */
};

/* Return: 0, *ret_events is the caller's; -errno of the event loop; -ENOMEM. */
int node_volume_events_new(sd_event *event, const struct node_volume_events_options *options,
                           struct node_volume_events **ret_events);
/* Return: NULL. */
struct node_volume_events *node_volume_events_free(struct node_volume_events *events);
DEFINE_CLEANUP(struct node_volume_events *, node_volume_events_free)

/*
 * Post events on what has changed for a volume since the last call. Changes reported_events and
 * deferred_events.
 */
void node_volume_events_check(struct node_volume_events *events, struct node_volume *volume);
/* An update of a volume is pending: check all of them later, as it may be late then. */
void node_volume_events_check_later(struct node_volume_events *events);

/* Post an event of a pod that is about no volume of this daemon. Return: as pod_events_post(). */
int node_volume_events_post(struct node_volume_events *events, struct source *source,
                            const struct pod_event *event);

/* A source is about to be freed: cancel the events that are posted through it. */
void node_volume_events_forget(struct node_volume_events *events, const struct source *source);
