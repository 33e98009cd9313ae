/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A pod: its names, the volumes of our driver that it mounts by subPath, and further members that
 * volumes of our driver need: pod_details().
 */
#include <cjson/cJSON.h>
#include <sys/types.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/list.h"

/*
 * Volumes of our driver in one pod; real pods have a handful. Further ones count as mounted without
 * subPath, and cannot have `podVolume`. Without details and labels a pod takes 33 KiB at most.
 */
#define POD_VOLUMES_MAX    512u
/* Further containers have no name in messages. */
#define POD_CONTAINERS_MAX 128u
#define POD_UID_MAX        128u /* the API server's are 36 long; CSI's limit for a field */

/*
 * Of a pod's JSON. Pods have some 10 KiB, and etcd takes 1.5 MiB of their shorter form; the JSON
 * takes twenty times its length in memory while it is read.
 */
#define POD_JSON_MAX_BYTES (1u << 20)

/* The condition of a pod that this program keeps, see node/pod_condition.c. */
#define POD_CONDITION_TYPE "secretfs.io/SecretsCurrent"

/* As in the pod's status; "": unknown, and all of them if the pod has no such condition. */
struct pod_condition {
    const char *status; /* "True" */
    const char *reason;
    const char *message;
    const char *last_transition;
};

/* One allocation. Strings are its own. */
struct pod {
    struct list link; /* for the owner */
    unsigned round;   /* the same */
    const char *namespace;
    const char *name;
    const char *uid;
    const char *resource_version; /* "": unknown */
    bool has_user_namespace;      /* hostUsers: false */
    const char *sub_paths; /* names of volumes, each with a NUL behind it; an empty one ends them */
    const char *labels;    /* as for pod_selector_matches() */
    const char *containers; /* pairs of name and id, as for pod_container_name() */
    time_t oldest_start;    /* of its containers that run; 0: none does */
    bool is_deleted;        /* it ends, and its containers may still run */
    struct pod_condition condition;
    const char *details; /* for pod_details(); "": no volume of ours needs more of the pod */
    size_t size;         /* of the allocation */
    char text[];         /* what they point to */
};

/*
 * @json: a Pod from the API server; all of it is checked
 * @driver: the name of our CSI driver
 * Return: 0, *ret_pod is the caller's; POD_WITHOUT_VOLUMES for a pod that has no inline volume of
 * @driver, or has ended, so that its volumes are not published any more; -EINVAL unless it is a Pod
 * with a namespace, a name and a uid; -ENOMEM.
 * Source: kubelet-semantics.md A2 (a volume's name), P1 (subPath, subPathExpr).
 */
#define POD_WITHOUT_VOLUMES 1
int pod_decode(const cJSON *json, const char *driver, struct pod **ret_pod);

/* Return: NULL; NULL is fine. */
struct pod *pod_free(struct pod *pod);
DEFINE_CLEANUP(struct pod *, pod_free)

/* The uid of a Pod, which may be invalid otherwise. Return: borrowed from @json; NULL: none. */
const char *pod_uid_of(const cJSON *json);

/* Whether the pod is the one with these names. */
bool pod_is(const struct pod *pod, const char *namespace, const char *name, const char *uid);

/* The attribute of a csi volume with which it names another volume of its pod. */
#define POD_VOLUME_ATTRIBUTE "podVolume"

/*
 * The members of the Pod that volumes of our driver need, as the API server sent them:
 *
 *   spec.volumes             the entries that `podVolume` names, and ours with a
 *                            nodePublishSecretRef
 *   metadata.labels, metadata.annotations, spec.securityContext, and of all containers name,
 *   resources and securityContext
 *                            if a volume of ours has a source that is made of the pod
 *
 * Return: 0, *ret_json is the caller's, an empty object if no volume needs any; -ENOMEM.
 */
int pod_details(const struct pod *pod, cJSON **ret_json);
/*
 * The entry @name of spec.volumes.
 * @details: of pod_details()
 * Return: borrowed; NULL if the pod has no such volume, or no `podVolume` names it.
 */
const cJSON *pod_volume_entry(const cJSON *details, const char *name);

/*
 * The secret that nodePublishSecretRef of our volume @name names.
 * Return: borrowed from @details; NULL: none.
 */
const char *pod_publish_secret(const cJSON *details, const char *name);

/*
 * The user that all containers of the pod run as.
 * @details: of pod_details()
 * Return: whether there is one; 0 counts, and a container without any means that there is none.
 * Source: Y13.
 */
bool pod_shared_user(const cJSON *details, uid_t *ret_user);

/*
 * The name of a container of the pod.
 * @id: the runtime's, without the runtime's name
 * Return: borrowed; NULL: unknown, or it is a container before a restart.
 */
const char *pod_container_name(const struct pod *pod, const char *id);

/* Whether a container of the pod mounts the volume by subPath or subPathExpr. */
bool pod_has_sub_path(const struct pod *pod, const char *volume);
