/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One watch of the pods of a node, which keeps a struct pods equal to the API server's. See
 * pod_watch.c; its states are those of watch.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/api/pods.h"
#include "fetcher/api/watch.h"

struct pod_watch;

enum pod_watch_health {
    POD_WATCH_STARTING,
    POD_WATCH_LIVE,
    POD_WATCH_FAILING, /* it is retried soon */
    POD_WATCH_REFUSED, /* it is retried, and the API server responded with 401 or 403 */
};

/* None of these functions may free the watch. */
struct pod_watch_io {
    struct watch_io watch;
    /* A pod was added or modified. @pod: borrowed for the call. */
    void (*on_pod)(void *userdata, const struct pod *pod);
    /* The health, or the reason for it, may have changed. @e: empty if the watch is live. */
    void (*on_health)(void *userdata, enum pod_watch_health health, const struct error *e);
};

/* Strings and @pods are borrowed, and outlive the watch. */
struct pod_watch_options {
    const char *driver_name;
    const char *node_name; /* as in spec.nodeName of pods */
    struct pods *pods;     /* receives what the watch finds */
};

/* @io: outlives the watch. Return: 0, *ret_watch is the caller's; -ENOMEM. */
int pod_watch_new(const struct pod_watch_options *options, const struct pod_watch_io *io,
                  void *userdata, struct pod_watch **ret_watch);
/* Return: NULL; NULL is fine. */
struct pod_watch *pod_watch_free(struct pod_watch *watch);
DEFINE_CLEANUP(struct pod_watch *, pod_watch_free)

/* To start it, and to report what happens to its requests. */
struct watch *pod_watch_watch(struct pod_watch *watch);

enum pod_watch_health pod_watch_health(const struct pod_watch *watch);
