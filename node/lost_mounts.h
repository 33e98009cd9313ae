/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Mounts of pods' volumes that ended with an earlier daemon. See lost_mounts.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/mountinfo.h"
#include "fetcher/api/pod.h"
#include "node/pod_events.h"

#define LOST_MOUNTS_MAX         1024u /* pods; a kubelet runs 110 by default. Others get no event */
#define LOST_MOUNTS_RETRY_AFTER SPAN_SEC(5)

struct lost_mounts;

struct lost_mounts_options {
    const char *driver_name; /* borrowed until lost_mounts_report(), like the next */
    const char *target_root; /* KUBELET_ROOT/pods, resolved */
    dev_t devices[2];        /* of the file systems of this daemon; 0: none */
    span_us retry_after;     /* LOST_MOUNTS_RETRY_AFTER, or less in a test */
    /* Post an event. Return: 0; -EAGAIN: a limit, it is posted again later. */
    int (*post)(void *userdata, const struct pod_event *event);
    void *userdata;
};

/* Return: 0, *ret_lost is the caller's; -ENOMEM; sd-event's errors. */
int lost_mounts_new(sd_event *event, const struct lost_mounts_options *options,
                    struct lost_mounts **ret_lost);
/* NULL is fine. Return: NULL. */
struct lost_mounts *lost_mounts_free(struct lost_mounts *lost);
DEFINE_CLEANUP(struct lost_mounts *, lost_mounts_free)

/* A mountinfo_visit_fn, @lost is the object: note the mount if it is lost. Return: true. */
bool lost_mounts_note(void *lost, const struct mountinfo *mount);
/* All mounts were visited: log what is lost. Return: whether anything is. */
bool lost_mounts_report(const struct lost_mounts *lost);
/* The watch brought a pod: post an event if a mount of it is lost. NULL is fine. */
void lost_mounts_on_pod(struct lost_mounts *lost, const struct pod *pod);
