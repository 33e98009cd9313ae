/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Signals to the containers of pods whose volumes have `onUpdate: signal:NAME`. See
 * volume_signals.c.
 *
 * Thread: the event loop's.
 */
#include "node/volume_events.h"

struct node_volume_signals;

/* Borrowed until the signals are freed. */
struct node_volume_signals_options {
    struct node_metrics *metrics;
    struct node_volume_events *events;
    struct node_volumes *volumes;
    const struct node_file_systems *file_systems;
};

/* Return: 0, *ret_signals is the caller's; -errno of the event loop; -ENOMEM. */
int node_volume_signals_new(sd_event *event, const struct node_volume_signals_options *options,
                            struct node_volume_signals **ret_signals);
/* Signals that are pending are sent. Return: NULL. */
struct node_volume_signals *node_volume_signals_free(struct node_volume_signals *signals);
DEFINE_CLEANUP(struct node_volume_signals *, node_volume_signals_free)

/* Readers of a volume see another payload. Changes signal_pace, and later signal_error. */
void node_volume_signals_updated(struct node_volume_signals *signals, struct node_volume *volume);
