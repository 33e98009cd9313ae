/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Kubernetes Events on pods, which `kubectl describe pod` shows. See pod_events.c.
 *
 * Thread: the event loop's.
 */
#include "node/exchange.h"

struct pod_events;

#define POD_EVENTS_PER_MINUTE 30            /* also the burst; a node has up to 250 pods */
#define POD_EVENTS_POSTING    8             /* requests in flight */
#define POD_EVENTS_KNOWN      256           /* remembered, so as not to repeat them */
#define POD_EVENTS_QUIET      SPAN_SEC(300) /* between equal events of a pod */

enum pod_event_result {
    POD_EVENT_POSTED,
    POD_EVENT_FAILED,   /* the API server could not be reached, or refused it */
    POD_EVENT_DEFERRED, /* not tried because of a limit; the caller posts it again */
    POD_EVENT_DROPPED,  /* an equal one was posted a short time ago, or the volume is gone */
    POD_EVENT_RESULTS,
};

const char *pod_event_result_name(enum pod_event_result result);

/* Texts are copied. */
struct pod_event {
    const char *namespace;
    const char *pod;     /* its name */
    const char *pod_uid; /* or NULL */
    const char *reason;  /* "VolumeHeld" */
    const char *message; /* a sentence, without secret bytes */
    bool is_warning;
    uint64_t owner; /* the caller's, for done() */
    unsigned tag;   /* the same */
};

/* The end of an event. */
struct pod_event_outcome {
    enum pod_event_result result;
    uint64_t owner;
    unsigned tag;
};

struct pod_events_options {
    const char *component; /* the driver's name; borrowed, like the next */
    const char *node_id;
    const struct exchange_calls *calls;
    /* Once for each event that was sent, or equals one that was; it may be called at once. */
    void (*done)(void *userdata, const struct pod_event_outcome *outcome);
    void *userdata;
};

/* Return: 0, *ret_events is the caller's; -ENOMEM. */
int pod_events_new(const struct pod_events_options *options, struct pod_events **ret_events);
/* Cancels requests in flight. Return: NULL. */
struct pod_events *pod_events_free(struct pod_events *events);
DEFINE_CLEANUP(struct pod_events *, pod_events_free)

/*
 * Post an event with the credentials of @source. Does not wait for the answer.
 * @source: of an API server; borrowed until done() is called or pod_events_forget()
 * @now: the current time
 * Return: 0: done() follows, or was called; -EAGAIN: a limit, nothing was posted and done() is not
 * called
 */
int pod_events_post(struct pod_events *events, struct source *source, const struct pod_event *event,
                    mono_us now);

/* A source is about to be freed: cancel its requests in flight, which counts as dropped. */
void pod_events_forget(struct pod_events *events, const struct source *source);
