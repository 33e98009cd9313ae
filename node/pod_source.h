/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The source of objects that are made of pods, with its store: fields of the pod (downwardAPI),
 * tokens (serviceAccountToken) and certificates (podCertificate). See pod_source.c.
 *
 * Thread: the event loop's.
 */
#include "node/allocatable.h"
#include "node/pods.h"

struct pod_source;

struct pod_source_options {
    const char *node_name;           /* outlives the source */
    struct node_pods *pods;          /* outlives the source */
    struct allocatable *allocatable; /* the same */
    struct node_api *api;            /* the same; for tokens and certificates */
};

/* Return: 0, *ret_source is the caller's; -ENOMEM; sd-event's errors. */
int pod_source_new(sd_event *event, const struct pod_source_options *options,
                   struct pod_source **ret_source);
/* All subscriptions must be gone. NULL is fine. Return: NULL. */
struct pod_source *pod_source_free(struct pod_source *source);
DEFINE_CLEANUP(struct pod_source *, pod_source_free)

/* The store that it fills; borrowed. */
struct store *pod_source_store(const struct pod_source *source);

/* For node_pods_options.changed(). */
void pod_source_on_pod(struct pod_source *source, const struct pod *pod);
/* For allocatable_options.changed(). */
void pod_source_on_node(struct pod_source *source);
