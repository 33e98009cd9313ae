/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The condition secretfs.io/SecretsCurrent of the pods of a node whose volumes ask for it. See
 * pod_conditions.c, and pod_condition.c for what it says.
 *
 * Thread: the event loop's.
 */
#include "node/metrics.h"
#include "node/pods.h"
#include "node/volumes.h"

struct pod_conditions;

struct pod_conditions_options {
    bool is_default; /* volumes that do not say report get it, too */
    struct node_metrics *metrics;
    struct node_volumes *volumes;
    struct node_pods *pods; /* whose conditions are known from there */
    struct node_api *api;   /* with the credentials that conditions are written with */
};

/* All of @options is borrowed. Return: 0, *ret_conditions is the caller's; sd-event's errors;
 * -ENOMEM. */
int pod_conditions_new(sd_event *event, const struct pod_conditions_options *options,
                       struct pod_conditions **ret_conditions);
/* Return: NULL. */
struct pod_conditions *pod_conditions_free(struct pod_conditions *conditions);
DEFINE_CLEANUP(struct pod_conditions *, pod_conditions_free)

/* Something has changed for a volume. NULL: a volume may have been mounted. */
void pod_conditions_check(struct pod_conditions *conditions, const struct node_volume *volume);
