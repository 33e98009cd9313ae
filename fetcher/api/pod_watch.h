/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One watch of the pods of a node, which keeps a struct pods equal to what the API server has. See
 * pod_watch.c for its states and docs/internals/pods.md for its reactions.
 *
 * It does nothing by itself: requests, time and chance come through struct pod_watch_io, and what
 * becomes of a request is told to it through the pod_watch_on_...() functions.
 *
 * Thread: the event loop's.
 */
#include "fetcher/api/pods.h"
#include "fetcher/http/client.h"

struct pod_watch;

/* How the watch is doing. */
enum pod_watch_health {
    POD_WATCH_STARTING,
    POD_WATCH_LIVE,
    POD_WATCH_FAILING, /* it is tried again soon */
    POD_WATCH_REFUSED, /* the same, but the API server said 401 or 403 */
};

/* None of them may free the watch. */
struct pod_watch_io {
    /*
     * Start a GET that is a watch; there is at most one at a time. None of the pod_watch_on_...()
     * functions may be called before this returns. Return: 0; -errno with @e.
     */
    int (*request)(void *userdata, const char *path, span_us total_limit, struct error *e);
    /* Give the request up, if there is one. */
    void (*cancel)(void *userdata);
    /* The last request's credentials were not accepted (401): get others. */
    void (*reject_credentials)(void *userdata);
    /* The one timer: call pod_watch_on_timer() after @delay, never if it is SPAN_FOREVER. */
    void (*set_timer)(void *userdata, span_us delay);
    mono_us (*now)(void *userdata);
    uint32_t (*random)(void *userdata);
    /* A pod came, or came again. @pod: borrowed for the call. */
    void (*on_pod)(void *userdata, const struct pod *pod);
    /* The health, or the reason for it, may have changed. @e: empty if there is no trouble. */
    void (*on_health)(void *userdata, enum pod_watch_health health, const struct error *e);
};

/* Strings and @pods are borrowed, and outlive the watch. */
struct pod_watch_options {
    const char *driver_name;
    const char *node_name; /* as pods have it in spec.nodeName */
    struct pods *pods;     /* what is found is put there */
};

/* @io: outlives the watch. Return: 0, *ret_watch is the caller's; -ENOMEM. */
int pod_watch_new(const struct pod_watch_options *options, const struct pod_watch_io *io,
                  void *userdata, struct pod_watch **ret_watch);
/* Return: NULL; NULL is fine. */
struct pod_watch *pod_watch_free(struct pod_watch *watch);
DEFINE_CLEANUP(struct pod_watch *, pod_watch_free)

/* Send the first request. */
void pod_watch_start(struct pod_watch *watch);

/* What becomes of the request, in the order of struct http_handler. */
void pod_watch_on_sent(struct pod_watch *watch);
void pod_watch_on_response(struct pod_watch *watch, const struct http_response *response);
void pod_watch_on_body(struct pod_watch *watch, const char *bytes, size_t len);
void pod_watch_on_done(struct pod_watch *watch, enum http_outcome outcome,
                       const struct error *error);
void pod_watch_on_timer(struct pod_watch *watch);

enum pod_watch_health pod_watch_health(const struct pod_watch *watch);
/* The state's name, for debugging and tests. */
const char *pod_watch_state_name(const struct pod_watch *watch);
