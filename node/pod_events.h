/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Kubernetes Events on pods, which `kubectl describe pod` shows: that the content of a volume is
 * not the newest one, and why. See pod_events.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/http/client.h"
#include "fetcher/source.h"

struct pod_events;

#define POD_EVENTS_PER_MINUTE 30  /* and as many at once: a node has up to 250 pods or so */
#define POD_EVENTS_POSTING    8   /* at the same time; a server that is slow gets no more of them */
#define POD_EVENTS_KNOWN      256 /* that are not said again soon */
#define POD_EVENTS_QUIET      SPAN_SEC(300) /* for which the same of a pod is not said again */

/* What became of one. */
enum pod_event_result {
    POD_EVENT_POSTED,
    POD_EVENT_FAILED,  /* the API server could not be asked, or refused */
    POD_EVENT_DROPPED, /* it was not tried: too many, too soon, or the server refuses all */
};

const char *pod_event_result_name(enum pod_event_result result);

/* Texts are copied. */
struct pod_event {
    const char *pod;     /* "NAMESPACE/NAME" */
    const char *pod_uid; /* NULL if it is not known */
    const char *reason;  /* a word, such as "VolumeHeld"; a constant */
    const char *message; /* a sentence, without secret bytes */
    bool is_warning;
};

/* api_source_send(), or a test in its place. */
typedef int pod_events_send_fn(struct source *source, const struct http_call *call,
                               const struct http_handler *handler, void *userdata,
                               struct http_request **ret_request, struct error *e);

struct pod_events_options {
    const char *component; /* the driver's name; borrowed, like the next */
    const char *node_id;
    pod_events_send_fn *send;
    struct http_request *(*cancel)(struct http_request *request); /* http_request_free() */
    void (*done)(void *userdata, enum pod_event_result result);   /* for each event */
    void *userdata;
};

/* Return: 0, *ret_events is the caller's; -ENOMEM. */
int pod_events_new(const struct pod_events_options *options, struct pod_events **ret_events);
/* What is under way is given up. Return: NULL. */
struct pod_events *pod_events_free(struct pod_events *events);
DEFINE_CLEANUP(struct pod_events *, pod_events_free)

/*
 * Post one, as whoever @source is, without waiting for it. What cannot be posted is gone.
 * @source: of an API server; borrowed until the event is done or pod_events_forget()
 * @now: the present
 */
void pod_events_post(struct pod_events *events, struct source *source,
                     const struct pod_event *event, mono_us now);

/* A source is about to be freed: give up what is under way through it. */
void pod_events_forget(struct pod_events *events, const struct source *source);
