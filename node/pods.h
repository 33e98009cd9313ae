/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The pods of a node: whether a container mounts a volume by subPath, which decides about the file
 * system that the volume goes to. See node_pods.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/http/client.h"
#include "fetcher/source.h"

struct node_pods;
struct node_pods_query;

/*
 * Pods that are asked for by name and not answered; a kubelet starts 110 of them unless it is told
 * otherwise. The volumes of more go to the standard file system.
 */
#define NODE_PODS_LOOKUPS_MAX  1024u
/* The part of them that is asked for at the same time, as each answer can have 1 MiB. */
#define NODE_PODS_REQUESTS_MAX 16u

/* The API server: api_source_...(), or a test in its place. */
struct node_pods_api {
    /*
     * The source with whose credentials pods are read; tried again until it works.
     * Return: 0, *ret_source is borrowed and outlives the object; -EOPNOTSUPP when there is no API
     * server and never will be; -errno; with @e.
     */
    int (*open)(void *userdata, struct source **ret_source, struct error *e);
    int (*send)(struct source *source, const struct http_call *call,
                const struct http_handler *handler, void *userdata,
                struct http_request **ret_request, struct error *e);
    struct http_request *(*cancel)(struct http_request *request); /* http_request_free() */
    unsigned (*version)(const struct source *source);
    void (*rejected)(struct source *source, unsigned version);
};

/* Strings are borrowed, and outlive the object. */
struct node_pods_options {
    const char *driver_name;
    const char *node_name;
    const struct node_pods_api *api;
    void *userdata; /* for api->open() */
};

/* Starts to watch. Return: 0, *ret_pods is the caller's; -ENOMEM; sd-event's errors. */
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

/*
 * Once, never from within node_pods_ask(); the query is gone then. That can take as long as the API
 * server is away: a caller that does not want to wait any longer frees the query.
 */
typedef void node_pods_answer_fn(void *userdata, enum node_pods_answer answer);

/*
 * @ret_query: the caller's, until answered() is called
 * Return: the answer; NODE_PODS_LATER, and answered() gives it.
 */
enum node_pods_answer node_pods_ask(struct node_pods *pods, const struct node_pods_volume *volume,
                                    node_pods_answer_fn *answered, void *userdata,
                                    struct node_pods_query **ret_query);
/* The answer is all that is missing: if the request waits to be tried again, try now. NULL is fine.
 */
void node_pods_query_hurry(struct node_pods_query *query);
/* answered() is not called any more. Return: NULL; NULL is fine. */
struct node_pods_query *node_pods_query_free(struct node_pods_query *query);

/*
 * The name in its pod of the volume at a target (A2): KUBELET_ROOT/pods/UID/volumes/
 * kubernetes.io~csi/NAME/mount.
 * Return: whether there is one, in @ret_name.
 */
#define NODE_PODS_VOLUME_NAME_SIZE 64
bool node_pods_volume_name(const char *target, char ret_name[static NODE_PODS_VOLUME_NAME_SIZE]);

/* Why the pods of the node are not watched now; "" while they are. Borrowed. */
const char *node_pods_problem(const struct node_pods *pods);
/* How many are known. */
size_t node_pods_count(const struct node_pods *pods);
