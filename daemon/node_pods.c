/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume's file system is chosen once, before its first content goes there, so the answer has to
 * come while the volume's objects are fetched:
 *
 *   known        at once
 *   not known    a GET of the pod by name, in parallel to the fetching of the objects; every volume
 *                of the pod waits for the same one
 *   no answer    after NODE_PODS_WAIT, or where pods cannot be read: unknown, and the volume goes
 * to the standard file system
 *
 * A pod is the right one if its uid is; another one of the same name says nothing.
 *
 * The node authorizer learns of a new pod some milliseconds late (K3), so a GET that is forbidden
 * is tried again within the wait. When that was in vain, or credentials are missing or refused, no
 * pod is asked for during REFUSED_QUIET.
 */
#include "daemon/node_pods.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "cache/object.h"
#include "fetcher/pod.h"

#define REFUSED_QUIET     SPAN_SEC(60)
#define QUICK_RETRY       SPAN_MS(50) /* doubling */
#define QUICK_RETRIES_MAX 4           /* 0.75 s together */
#define TIMER_SLACK       SPAN_MS(1)

/* A pod that is asked for by name. */
struct lookup {
    struct list link;
    struct node_pods *pods;
    char *namespace, *name, *uid;
    struct list queries; /* of struct node_pods_query; may be empty */
    struct http_request *request;
    sd_event_source *deadline;
    sd_event_source *retry;
    unsigned n_retries;
    int status; /* of the response; 0 before it came */
    struct buf body;
};

struct node_pods_query {
    struct list link;
    char *volume;
    node_pods_answer_fn *answered;
    void *userdata;
};

struct node_pods {
    sd_event *event;
    struct node_pods_options options;
    struct source *source; /* NULL until it could be opened */
    struct list lookups;
    size_t n_lookups;
    mono_us refused_until;
    struct error problem;
};

const char *node_pods_problem(const struct node_pods *pods)
{
    return pods->problem.text;
}

bool node_pods_volume_name(const char *target, char ret_name[static NODE_PODS_VOLUME_NAME_SIZE])
{
    static const char around[] = "/volumes/kubernetes.io~csi/", last[] = "/mount";
    const char *name = NULL, *end;

    /* the last one, as the kubelet's root may be anything */
    for (const char *at = strstr(target, around); at != NULL; at = strstr(at + 1, around))
        name = at + strlen(around);
    end = name != NULL ? strchr(name, '/') : NULL;
    if (end == NULL || !streq(end, last) || end == name ||
        (size_t)(end - name) >= NODE_PODS_VOLUME_NAME_SIZE)
        return false;
    (void)snprintf(ret_name, NODE_PODS_VOLUME_NAME_SIZE, "%.*s", (int)(end - name), name);
    return true;
}

/* ---- queries */

struct node_pods_query *node_pods_query_free(struct node_pods_query *query)
{
    if (query == NULL)
        return NULL;
    list_remove(&query->link);
    free(query->volume);
    free(query);
    return NULL;
}
DEFINE_CLEANUP(struct node_pods_query *, node_pods_query_free)

static enum node_pods_answer answer_of(const struct pod *pod, const char *volume)
{
    if (pod == NULL)
        return NODE_PODS_UNKNOWN;
    return pod_has_sub_path(pod, volume) ? NODE_PODS_SUB_PATH : NODE_PODS_NO_SUB_PATH;
}

/* ---- lookups */

static struct lookup *lookup_free(struct lookup *l)
{
    if (l == NULL)
        return NULL;
    assert(list_is_empty(&l->queries));
    l->pods->n_lookups--;
    list_remove(&l->link);
    if (l->request != NULL)
        l->request = l->pods->options.cancel(l->request);
    (void)sd_event_source_disable_unref(l->deadline);
    (void)sd_event_source_disable_unref(l->retry);
    buf_deinit(&l->body);
    free(l->namespace);
    free(l->name);
    free(l->uid);
    free(l);
    return NULL;
}
DEFINE_CLEANUP(struct lookup *, lookup_free)

/* @pod: NULL if it is not known. The lookup is gone. */
static void finish(struct lookup *l, const struct pod *pod)
{
    while (!list_is_empty(&l->queries)) {
        struct node_pods_query *query = list_entry(l->queries.next, struct node_pods_query, link);
        enum node_pods_answer answer = answer_of(pod, query->volume);
        node_pods_answer_fn *answered = query->answered;
        void *userdata = query->userdata;

        (void)node_pods_query_free(query);
        answered(userdata, answer);
    }
    (void)lookup_free(l);
}

static void refuse(struct node_pods *pods, const struct error *e)
{
    pods->refused_until = clock_mono() + REFUSED_QUIET;
    pods->problem = *e;
}

/* ---- a GET */

static int lookup_send(struct lookup *l, struct error *e);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct lookup *l = userdata;
    struct error e = ERROR_INIT;

    (void)source;
    (void)usec;
    if (lookup_send(l, &e) < 0)
        finish(l, NULL);
    return 0;
}

static bool retry_soon(struct lookup *l)
{
    span_us delay = QUICK_RETRY << l->n_retries;

    if (l->n_retries++ >= QUICK_RETRIES_MAX)
        return false;
    l->retry = sd_event_source_disable_unref(l->retry);
    return sd_event_add_time_relative(l->pods->event, &l->retry, CLOCK_MONOTONIC, delay,
                                      TIMER_SLACK, on_retry, l) >= 0;
}

static void on_refused(struct lookup *l)
{
    struct error e = ERROR_INIT;

    if (l->status == 403 && retry_soon(l))
        return;
    (void)error_set(&e, -EACCES, "the API server answers %d to a request for pod %s/%s", l->status,
                    l->namespace, l->name);
    if (l->status == 401 || l->status == 403)
        refuse(l->pods, &e);
    finish(l, NULL);
}

static void on_found(struct lookup *l)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    _cleanup_(pod_freep) struct pod *pod = NULL;
    int r = json_parse(buf_text(&l->body), l->body.len, &json, NULL);

    if (r == 0)
        r = pod_decode(json, l->pods->options.driver_name, &pod);
    if (r == 0 && !pod_is(pod, l->namespace, l->name, l->uid))
        pod = pod_free(pod);
    finish(l, pod);
}

static void on_response(void *userdata, const struct http_response *response)
{
    struct lookup *l = userdata;

    l->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct lookup *l = userdata;

    if (l->status == 200 && buf_add(&l->body, bytes, len) < 0)
        finish(l, NULL);
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct lookup *l = userdata;

    (void)error;
    l->request = l->pods->options.cancel(l->request);
    if (outcome != HTTP_COMPLETE)
        finish(l, NULL);
    else if (l->status == 200)
        on_found(l);
    else
        on_refused(l);
}

static int lookup_send(struct lookup *l, struct error *e)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    char path[sizeof("/api/v1/namespaces//pods/") + OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX];
    const struct http_call call = {.path = path, .total_limit = NODE_PODS_WAIT};

    (void)snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s", l->namespace, l->name);
    l->status = 0;
    return l->pods->options.send(l->pods->source, &call, &handler, l, &l->request, e);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    finish(userdata, NULL);
    return 0;
}

static int lookup_new(struct node_pods *pods, const struct node_pods_volume *volume,
                      struct lookup **ret_lookup, struct error *e)
{
    _cleanup_(lookup_freep) struct lookup *l = calloc(1, sizeof(*l));
    int r;

    if (l == NULL)
        return error_set_errno(e, -ENOMEM, "cannot ask for a pod");
    l->pods = pods;
    l->body = BUF_INIT(POD_JSON_MAX_BYTES);
    list_init(&l->queries);
    list_append(&pods->lookups, &l->link);
    pods->n_lookups++;
    l->namespace = strdup(volume->namespace);
    l->name = strdup(volume->pod);
    l->uid = strdup(volume->pod_uid);
    r = l->namespace != NULL && l->name != NULL && l->uid != NULL ? 0 : -ENOMEM;
    if (r == 0)
        r = sd_event_add_time_relative(pods->event, &l->deadline, CLOCK_MONOTONIC, NODE_PODS_WAIT,
                                       TIMER_SLACK, on_deadline, l);
    if (r < 0)
        return error_set_errno(e, r, "cannot ask for a pod");
    r = lookup_send(l, e);
    if (r < 0)
        return r;
    *ret_lookup = TAKE(l);
    return 0;
}

/* ---- asking */

static int open_source(struct node_pods *pods, struct error *e)
{
    return pods->source == NULL ? pods->options.open(pods->options.userdata, &pods->source, e) : 0;
}

static struct lookup *find_lookup(const struct node_pods *pods,
                                  const struct node_pods_volume *volume)
{
    struct lookup *l;

    list_for_each (l, &pods->lookups, link)
        if (streq(l->uid, volume->pod_uid) && streq(l->name, volume->pod) &&
            streq(l->namespace, volume->namespace))
            return l;
    return NULL;
}

/* The lookup that a query waits for. Return: NULL when there is no point in one. */
static struct lookup *get_lookup(struct node_pods *pods, const struct node_pods_volume *volume)
{
    struct lookup *l = find_lookup(pods, volume);
    struct error e = ERROR_INIT;

    if (l != NULL)
        return l;
    if (clock_mono() < pods->refused_until || pods->n_lookups == NODE_PODS_LOOKUPS_MAX)
        return NULL;
    if (open_source(pods, &e) == 0 && lookup_new(pods, volume, &l, &e) == 0)
        return l;
    refuse(pods, &e);
    return NULL;
}

enum node_pods_answer node_pods_ask(struct node_pods *pods, const struct node_pods_volume *volume,
                                    node_pods_answer_fn *answered, void *userdata,
                                    struct node_pods_query **ret_query)
{
    _cleanup_(node_pods_query_freep) struct node_pods_query *query = calloc(1, sizeof(*query));
    struct lookup *lookup;

    if (query == NULL)
        return NODE_PODS_UNKNOWN;
    list_init(&query->link);
    query->answered = answered;
    query->userdata = userdata;
    query->volume = strdup(volume->volume);
    lookup = query->volume != NULL ? get_lookup(pods, volume) : NULL;
    if (lookup == NULL)
        return NODE_PODS_UNKNOWN;
    list_append(&lookup->queries, &query->link);
    *ret_query = TAKE(query);
    return NODE_PODS_LATER;
}

/* ---- all of it */

int node_pods_new(sd_event *event, const struct node_pods_options *options,
                  struct node_pods **ret_pods)
{
    struct node_pods *pods = calloc(1, sizeof(*pods));

    if (pods == NULL)
        return -ENOMEM;
    pods->event = sd_event_ref(event);
    pods->options = *options;
    list_init(&pods->lookups);
    *ret_pods = pods;
    return 0;
}

struct node_pods *node_pods_free(struct node_pods *pods)
{
    struct lookup *l, *next;

    if (pods == NULL)
        return NULL;
    list_for_each_safe (l, next, &pods->lookups, link)
        (void)lookup_free(l);
    (void)sd_event_unref(pods->event);
    free(pods);
    return NULL;
}
