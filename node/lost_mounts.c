/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon that is killed without a keeper, or together with it, leaves mounts that nothing serves.
 * They stay on the targets until the kubelet publishes or unpublishes the volumes (target.c), and
 * in the containers until these end: a mount in a running container cannot be replaced from
 * outside. The kubelet does not know: it takes a mount for mounted, and calls for a pod that runs
 * only after its own restart, or with requiresRepublish.
 *
 * So the next daemon says what has to be done, to those who can do it: the log names the targets,
 * and each pod gets an event, once the watch of pods has brought its name. Nothing is asked of the
 * mounts: one of this driver, on a target of a pod, that is in no file system of this daemon is of
 * an earlier one.
 */
#include "node/lost_mounts.h"

#include <stdio.h>

#include "base/log.h"
#include "node/pods.h"

#define TIMER_SLACK SPAN_MS(100)

/* A pod with such mounts. */
struct lost_pod {
    char *uid;
    char volume[NODE_PODS_VOLUME_NAME_SIZE]; /* the first one */
    size_t n_volumes;
    char *namespace; /* with the name: NULL until the pod is known */
    char *name;
    bool is_posted;
};

struct lost_mounts {
    struct lost_mounts_options options;
    struct lost_pod pods[LOST_MOUNTS_MAX];
    size_t n_pods;
    size_t n_mounts;
    char *example;          /* a target */
    sd_event_source *timer; /* on while an event is deferred */
};

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

int lost_mounts_new(sd_event *event, const struct lost_mounts_options *options,
                    struct lost_mounts **ret_lost)
{
    _cleanup_(lost_mounts_freep) struct lost_mounts *lost = calloc(1, sizeof(*lost));
    int r;

    if (lost == NULL)
        return -ENOMEM;
    lost->options = *options;
    r = sd_event_add_time_relative(event, &lost->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_timer,
                                   lost);
    if (r >= 0)
        r = sd_event_source_set_enabled(lost->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_lost = TAKE(lost);
    return 0;
}

struct lost_mounts *lost_mounts_free(struct lost_mounts *lost)
{
    if (lost == NULL)
        return NULL;
    sd_event_source_disable_unref(lost->timer);
    for (size_t i = 0; i < lost->n_pods; i++) {
        free(lost->pods[i].uid);
        free(lost->pods[i].namespace);
        free(lost->pods[i].name);
    }
    free(lost->example);
    free(lost);
    return NULL;
}

/* ---- mounts */

static struct lost_pod *find_pod(struct lost_mounts *lost, const char *uid, size_t len)
{
    for (size_t i = 0; i < lost->n_pods; i++)
        if (strlen(lost->pods[i].uid) == len && strncmp(lost->pods[i].uid, uid, len) == 0)
            return &lost->pods[i];
    return NULL;
}

static struct lost_pod *get_pod(struct lost_mounts *lost, const char *uid, size_t len)
{
    struct lost_pod *pod = find_pod(lost, uid, len);
    char *copy;

    if (pod != NULL || lost->n_pods == LOST_MOUNTS_MAX || len > POD_UID_MAX)
        return pod;
    copy = strndup(uid, len);
    if (copy == NULL)
        return NULL; /* no event; the log has the target, or another one */
    pod = &lost->pods[lost->n_pods++];
    *pod = (struct lost_pod){.uid = copy};
    return pod;
}

bool lost_mounts_note(void *userdata, const struct mountinfo *mount)
{
    struct lost_mounts *lost = userdata;
    const struct lost_mounts_options *o = &lost->options;
    const char *below = str_after(mount->mountpoint, o->target_root);
    const char *rest = below != NULL && *below == '/' ? strchr(below + 1, '/') : NULL;
    char volume[NODE_PODS_VOLUME_NAME_SIZE];
    struct lost_pod *pod;

    if (rest == NULL || !streq(mount->fs_type, "fuse.secretfs") ||
        !streq(mount->source, o->driver_name) || mount->device == o->devices[0] ||
        mount->device == o->devices[1] || !node_pods_volume_name(mount->mountpoint, volume))
        return true;
    if (lost->n_mounts++ == 0)
        lost->example = strdup(mount->mountpoint);
    pod = get_pod(lost, below + 1, (size_t)(rest - below) - 1);
    if (pod == NULL)
        return true;
    if (pod->n_volumes++ == 0)
        snprintf(pod->volume, sizeof(pod->volume), "%s", volume);
    return true;
}

bool lost_mounts_report(const struct lost_mounts *lost)
{
    char count[24];

    if (lost->n_mounts == 0)
        return false;
    snprintf(count, sizeof(count), "%zu", lost->n_mounts);
    log_warn(
        "mounts have ended with an earlier daemon, and containers get ENOTCONN until their pods "
        "are deleted; `secretfs status` lists them as dead",
        "count", count, "target", lost->example);
    return true;
}

/* ---- events */

static void post(struct lost_mounts *lost, struct lost_pod *pod)
{
    char message[NODE_PODS_VOLUME_NAME_SIZE + 192], others[40] = "";
    const struct pod_event event = {
        .namespace = pod->namespace,
        .pod = pod->name,
        .pod_uid = pod->uid,
        .reason = "VolumeMountLost",
        .message = message,
        .is_warning = true,
    };

    if (pod->n_volumes > 1)
        snprintf(others, sizeof(others), " (and %zu more)", pod->n_volumes - 1);
    snprintf(message, sizeof(message),
             "volume %s%s: the mount has ended with an earlier daemon of the node, and containers "
             "get ENOTCONN; delete the pod, so that another one replaces it",
             pod->volume, others);
    pod->is_posted = lost->options.post(lost->options.userdata, &event) == 0;
    if (!pod->is_posted &&
        sd_event_source_set_time_relative(lost->timer, lost->options.retry_after) >= 0)
        sd_event_source_set_enabled(lost->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct lost_mounts *lost = userdata;

    for (size_t i = 0; i < lost->n_pods; i++)
        if (lost->pods[i].name != NULL && !lost->pods[i].is_posted)
            post(lost, &lost->pods[i]);
    return 0;
}

void lost_mounts_on_pod(struct lost_mounts *lost, const struct pod *pod)
{
    struct lost_pod *found = lost != NULL ? find_pod(lost, pod->uid, strlen(pod->uid)) : NULL;

    if (found == NULL || found->name != NULL || pod->is_deleted)
        return;
    if (found->namespace == NULL)
        found->namespace = strdup(pod->namespace);
    found->name = found->namespace != NULL ? strdup(pod->name) : NULL;
    if (found->name != NULL)
        post(lost, found);
}
