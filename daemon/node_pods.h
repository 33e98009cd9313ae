/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The pods of a node: whether a container mounts a volume by subPath, which decides about the file
 * system that the volume goes to. See node_pods.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/http.h"
#include "fetcher/source.h"

struct node_pods;
struct node_pods_query;

/* A request's time, and how long an answer takes at most. */
#define NODE_PODS_WAIT        SPAN_SEC(1)
/* Pods that are asked for by name at the same time; a kubelet has up to 110 or so in all. */
#define NODE_PODS_LOOKUPS_MAX 256

/* api_source_send(), or a test in its place. */
typedef int node_pods_send_fn(struct source *source, const struct http_call *call,
                              const struct http_handler *handler, void *userdata,
                              struct http_request **ret_request, struct error *e);

/* Strings are borrowed, and outlive the object. */
struct node_pods_options {
    const char *driver_name;
    /*
     * The source with whose credentials pods are read; tried again until it works.
     * Return: 0, *ret_source is borrowed and outlives the object; -EOPNOTSUPP when there is no API
     * server and never will be; -errno; with @e.
     */
    int (*open)(void *userdata, struct source **ret_source, struct error *e);
    node_pods_send_fn *send;
    struct http_request *(*cancel)(struct http_request *request); /* http_request_free() */
    void *userdata;
};

/* Return: 0, *ret_pods is the caller's; -ENOMEM; sd-event's errors. */
int node_pods_new(sd_event *event, const struct node_pods_options *options,
                  struct node_pods **ret_pods);
/* All queries must be gone. Return: NULL; NULL is fine. */
struct node_pods *node_pods_free(struct node_pods *pods);
DEFINE_CLEANUP(struct node_pods *, node_pods_free)

enum node_pods_answer {
    NODE_PODS_UNKNOWN,     /* the pod cannot be read, or not soon enough */
    NODE_PODS_NO_SUB_PATH, /* no container mounts the volume by subPath */
    NODE_PODS_SUB_PATH,    /* a container does, by subPath or subPathExpr */
    NODE_PODS_LATER,       /* the API server is asked */
};

/* Which volume of which pod. Strings are copied. */
struct node_pods_volume {
    const char *namespace; /* valid, as is the pod's name */
    const char *pod;
    const char *pod_uid;
    const char *volume; /* its name in the pod */
};

/* Once, within NODE_PODS_WAIT, never from within node_pods_ask(); the query is gone then. */
typedef void node_pods_answer_fn(void *userdata, enum node_pods_answer answer);

/*
 * @ret_query: the caller's, until answered() is called
 * Return: the answer; NODE_PODS_LATER, and answered() gives it.
 */
enum node_pods_answer node_pods_ask(struct node_pods *pods, const struct node_pods_volume *volume,
                                    node_pods_answer_fn *answered, void *userdata,
                                    struct node_pods_query **ret_query);
/* answered() is not called any more. Return: NULL; NULL is fine. */
struct node_pods_query *node_pods_query_free(struct node_pods_query *query);

/*
 * The name in its pod of the volume at a target (A2): KUBELET_ROOT/pods/UID/volumes/
 * kubernetes.io~csi/NAME/mount.
 * Return: whether there is one, in @ret_name.
 */
#define NODE_PODS_VOLUME_NAME_SIZE 64
bool node_pods_volume_name(const char *target, char ret_name[static NODE_PODS_VOLUME_NAME_SIZE]);

/* Why pods cannot be read now; "" while they can. Borrowed. */
const char *node_pods_problem(const struct node_pods *pods);
