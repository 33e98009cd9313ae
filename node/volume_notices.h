/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notifies consumers of volumes with `onUpdate`: signals to a pod's containers, a reload of a unit
 * or a command for a static volume. See volume_notices.c.
 *
 * Thread: the event loop's.
 */
#include "node/volume_events.h"

struct node_volume_notices;

/* Borrowed until the notices are freed. */
struct node_volume_notices_options {
    struct node_metrics *metrics;
    struct node_volume_events *events;
    struct node_volumes *volumes;
    const struct node_file_systems *file_systems;
    struct commands *commands; /* NULL: none */
};

/* Return: 0, *ret_notices is the caller's; -errno of the event loop; -ENOMEM. */
int node_volume_notices_new(sd_event *event, const struct node_volume_notices_options *options,
                            struct node_volume_notices **ret_notices);
/*
 * What is pending is sent, and waited for; commands are not. What has not ended then is of the next
 * process. Return: NULL.
 */
struct node_volume_notices *node_volume_notices_free(struct node_volume_notices *notices);
DEFINE_CLEANUP(struct node_volume_notices *, node_volume_notices_free)

/* The volume may be of an earlier process, which has not notified its consumers. */
void node_volume_notices_check(struct node_volume_notices *notices, struct node_volume *volume);
/* Readers of a volume see another payload. Changes its notice, also later. */
void node_volume_notices_updated(struct node_volume_notices *notices, struct node_volume *volume);
