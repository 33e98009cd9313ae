/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The pods of a node: whether a container mounts a volume by subPath, which decides about the file
 * system of the volume, and what a volume of the pod says that another one stands for. See pods.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/api/pod.h"
#include "node/api.h"

struct node_pods;
struct node_pods_query;

/*
 * Pods that are requested by name and not answered yet; a kubelet runs 110 by default. The volumes
 * of further pods use the standard file system.
 */
#define NODE_PODS_LOOKUPS_MAX  1024u
/* Requests in flight, as an answer may have 1 MiB. */
#define NODE_PODS_REQUESTS_MAX 16u

/* Strings are borrowed, and outlive the object. */
struct node_pods_options {
    const char *driver_name;
    const char *node_name;
    struct node_api *api;
    /*
     * The watch brought a pod, borrowed for the call; or NULL: whether pods are watched has
     * changed. NULL: not needed.
     */
    void (*changed)(void *userdata, const struct pod *pod);
    void *userdata; /* for changed() */
};

/* Start the watch. Return: 0, *ret_pods is the caller's; -ENOMEM; sd-event's errors. */
int node_pods_new(sd_event *event, const struct node_pods_options *options,
                  struct node_pods **ret_pods);
/* All queries must be freed. NULL is fine. Return: NULL. */
struct node_pods *node_pods_free(struct node_pods *pods);
DEFINE_CLEANUP(struct node_pods *, node_pods_free)

enum node_pods_answer {
    NODE_PODS_UNKNOWN,     /* the pod cannot be read, or not soon enough */
    NODE_PODS_NO_SUB_PATH, /* no container mounts the volume by subPath */
    NODE_PODS_SUB_PATH,    /* a container does, by subPath or subPathExpr */
    NODE_PODS_LATER,       /* answered() is called with the answer */
};

/* A volume of a pod. Strings are copied. */
struct node_pods_volume {
    const char *namespace; /* valid, as is the pod's name */
    const char *pod;
    const char *pod_uid;
    const char *volume; /* its name in the pod */
};

/*
 * Called once, not from within node_pods_ask(); the query is freed before. The wait has no limit:
 * a caller that stops to wait frees the query.
 * @pod: borrowed for the call; NULL if it is unknown
 */
typedef void node_pods_answer_fn(void *userdata, enum node_pods_answer answer,
                                 const struct pod *pod);

/*
 * @ret_query: the caller's, until answered() is called
 * Return: the answer; NODE_PODS_LATER, and answered() follows.
 */
enum node_pods_answer node_pods_ask(struct node_pods *pods, const struct node_pods_volume *volume,
                                    node_pods_answer_fn *answered, void *userdata,
                                    struct node_pods_query **ret_query);
/* Return: a pod that node_pods_ask() answers at once, borrowed until the next event; NULL. */
const struct pod *node_pods_find(const struct node_pods *pods,
                                 const struct node_pods_volume *volume);
/* Retry now, without back-off, because content waits for the answer. NULL is fine. */
void node_pods_query_expedite(struct node_pods_query *query);
/* answered() will not be called. NULL is fine. Return: NULL. */
struct node_pods_query *node_pods_query_free(struct node_pods_query *query);

/*
 * Parse the name of a pod's volume from its target (A2): KUBELET_ROOT/pods/UID/volumes/
 * kubernetes.io~csi/NAME/mount.
 * Return: whether the target has one.
 */
#define NODE_PODS_VOLUME_NAME_SIZE 64
bool node_pods_volume_name(const char *target, char ret_name[static NODE_PODS_VOLUME_NAME_SIZE]);

/* Whether there is an API server with pods: not where objects come from manifests. */
bool node_pods_are_readable(const struct node_pods *pods);
/* Why the pods of the node are not watched; "" while they are. Borrowed. */
const char *node_pods_problem(const struct node_pods *pods);
/* The number of known pods. */
size_t node_pods_count(const struct node_pods *pods);
