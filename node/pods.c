/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system of a volume is chosen once, before its first content is published, so the pod has
 * to be known while the volume's objects are fetched:
 *
 *   known       from the watch of the node's pods: the answer is immediate
 *   not known   a GET of the pod by name, while the objects are fetched. All volumes of the pod
 *               wait for the same lookup. If the watch brings the pod first, that is the answer.
 *   no answer   the pod does not exist, is another one of the same name, or may not be read:
 *               unknown, and the volume uses the standard file system
 *
 * While the server cannot be reached, the GET is retried: there are no objects either, and when
 * they come, it is retried at once. How long a volume with objects waits is decided in volume.c.
 *
 * The node authorizer learns of a new pod some milliseconds late (K3), and credentials may have to
 * be renewed, so a refused GET is retried QUICK_RETRIES_MAX times. If these fail, and the watch
 * does not work either, no pod is requested for REFUSED_QUIET.
 *
 * There is no table of states for a lookup: `exchange`, `wants_request` and `retry` say whether it
 * is in flight, queued, or waits for a timer; it ends in finish(), which answers all queries.
 */
#include "node/pods.h"

#include <stdio.h>

#include "base/log.h"
#include "cache/object.h"
#include "encoding/json.h"
#include "fetcher/api/pod_watch.h"
#include "fetcher/api/watch_clock.h"

#define GET_LIMIT         SPAN_SEC(10)
#define REFUSED_QUIET     SPAN_SEC(60)
#define QUICK_RETRY       SPAN_MS(50)  /* after 401 and 403; doubling */
#define QUICK_RETRIES_MAX 4            /* 0.75 s in total */
#define RETRY_FIRST       SPAN_MS(250) /* while the server is away; doubling */
#define RETRY_DOUBLINGS   4            /* up to 4 s */
#define TIMER_SLACK       SPAN_MS(1)
#define FAILURES_TO_LOG   3 /* of the watch, in a row: some seconds */

/* A pod that is requested by name, as long as there is a query. */
struct lookup {
    struct list link;
    struct node_pods *pods;
    char *namespace, *name, *uid;
    struct list queries; /* of struct node_pods_query */
    struct exchange exchange;
    bool wants_request; /* queued, see send_waiting() */
    bool is_finished;   /* in finish() */
    bool is_urgent;     /* content waits for it: retries do not back off */
    sd_event_source *retry;
    unsigned n_refused, n_failed;
};

struct node_pods_query {
    struct list link;
    struct lookup *lookup;
    char *volume;
    node_pods_answer_fn *answered;
    void *userdata;
};

struct node_pods {
    sd_event *event;
    struct node_pods_options options;

    struct pods known;
    struct pod_watch *watch; /* NULL: no API server */
    struct http_request *watch_request;
    unsigned watch_version; /* of the credentials of watch_request */
    struct watch_clock watch_clock;
    struct error problem; /* of the watch; empty: none */
    unsigned n_failures;  /* of the watch, in a row */
    bool is_logged;       /* the problem */

    struct list lookups;
    size_t n_lookups, n_requests;
    mono_us refused_until;
};

const char *node_pods_problem(const struct node_pods *pods)
{
    return pods->problem.text;
}

bool node_pods_are_readable(const struct node_pods *pods)
{
    return pods->watch != NULL;
}

size_t node_pods_count(const struct node_pods *pods)
{
    return pods->known.n;
}

bool node_pods_volume_name(const char *target, char ret_name[static NODE_PODS_VOLUME_NAME_SIZE])
{
    static const char around[] = "/volumes/kubernetes.io~csi/", last[] = "/mount";
    const char *name = NULL, *end;

    /* the last one: the kubelet's root may contain the same text */
    for (const char *at = strstr(target, around); at != NULL; at = strstr(at + 1, around))
        name = at + strlen(around);
    end = name != NULL ? strchr(name, '/') : NULL;
    if (end == NULL || !streq(end, last) || end == name ||
        (size_t)(end - name) >= NODE_PODS_VOLUME_NAME_SIZE)
        return false;
    snprintf(ret_name, NODE_PODS_VOLUME_NAME_SIZE, "%.*s", (int)(end - name), name);
    return true;
}

/* ---- lookups and queries */

static void send_waiting(struct node_pods *pods);

static void count_end(struct lookup *l)
{
    assert(l->pods->n_requests > 0);
    l->pods->n_requests--;
}

static struct lookup *lookup_free(struct lookup *l)
{
    if (l == NULL)
        return NULL;
    assert(list_is_empty(&l->queries) && l->pods->n_lookups > 0);
    if (exchange_is_open(&l->exchange))
        count_end(l);
    exchange_deinit(&l->exchange);
    l->pods->n_lookups--;
    list_remove(&l->link);
    sd_event_source_disable_unref(l->retry);
    free(l->namespace);
    free(l->name);
    free(l->uid);
    free(l);
    return NULL;
}
DEFINE_CLEANUP(struct lookup *, lookup_free)

static void on_answered(void *userdata, const struct error *error);

static int lookup_new(struct node_pods *pods, const struct node_pods_volume *volume,
                      struct lookup **ret_lookup)
{
    struct exchange_options exchange = {
        .calls = pods->options.api->calls, .body_max = POD_JSON_MAX_BYTES, .done = on_answered};
    _cleanup_(lookup_freep) struct lookup *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return -ENOMEM;
    l->pods = pods;
    exchange.userdata = l;
    exchange_init(&l->exchange, &exchange);
    list_init(&l->queries);
    list_append(&pods->lookups, &l->link);
    pods->n_lookups++;
    l->namespace = strdup(volume->namespace);
    l->name = strdup(volume->pod);
    l->uid = strdup(volume->pod_uid);
    if (l->namespace == NULL || l->name == NULL || l->uid == NULL)
        return -ENOMEM;
    l->wants_request = true;
    *ret_lookup = TAKE(l);
    return 0;
}

static struct node_pods_query *query_free(struct node_pods_query *query)
{
    if (query == NULL)
        return NULL;
    list_remove(&query->link);
    free(query->volume);
    free(query);
    return NULL;
}
DEFINE_CLEANUP(struct node_pods_query *, query_free)

struct node_pods_query *node_pods_query_free(struct node_pods_query *query)
{
    struct lookup *l = query != NULL ? query->lookup : NULL;
    struct node_pods *pods = l != NULL ? l->pods : NULL;

    query_free(query);
    if (l == NULL || l->is_finished || !list_is_empty(&l->queries))
        return NULL;
    lookup_free(l);
    send_waiting(pods);
    return NULL;
}

static enum node_pods_answer answer_of(const struct pod *pod, const char *volume)
{
    if (pod == NULL)
        return NODE_PODS_UNKNOWN;
    return pod_has_sub_path(pod, volume) ? NODE_PODS_SUB_PATH : NODE_PODS_NO_SUB_PATH;
}

/* Answer all queries, and free the lookup. @pod: NULL if unknown. */
static void finish(struct lookup *l, const struct pod *pod)
{
    struct node_pods *pods = l->pods;

    assert(!l->is_finished);
    l->is_finished = true;
    while (!list_is_empty(&l->queries)) {
        struct node_pods_query *query = list_entry(l->queries.next, struct node_pods_query, link);
        enum node_pods_answer answer = answer_of(pod, query->volume);
        node_pods_answer_fn *answered = query->answered;
        void *userdata = query->userdata;

        query_free(query);
        answered(userdata, answer, pod);
    }
    lookup_free(l);
    send_waiting(pods);
}

static struct lookup *find_lookup(const struct node_pods *pods, const char *namespace,
                                  const char *name, const char *uid)
{
    struct lookup *l;

    list_for_each (l, &pods->lookups, link)
        if (!l->is_finished && streq(l->uid, uid) && streq(l->name, name) &&
            streq(l->namespace, namespace))
            return l;
    return NULL;
}

/* ---- GETs */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct lookup *l = userdata;

    l->wants_request = true;
    send_waiting(l->pods);
    return 0;
}

/* Without a timer only the watch can answer. */
static void retry_later(struct lookup *l, span_us delay)
{
    l->retry = sd_event_source_disable_unref(l->retry);
    sd_event_add_time_relative(l->pods->event, &l->retry, CLOCK_MONOTONIC, delay, TIMER_SLACK,
                               on_retry, l);
}

static void on_failed(struct lookup *l)
{
    span_us delay = span_doubled(RETRY_FIRST, l->n_failed++, RETRY_DOUBLINGS);

    retry_later(l, l->is_urgent ? RETRY_FIRST : delay);
}

/* 401, 403 */
static void on_refused(struct lookup *l)
{
    struct node_pods *pods = l->pods;
    enum pod_watch_health health = pod_watch_health(pods->watch);

    exchange_reject_credentials(&l->exchange);
    if (health != POD_WATCH_REFUSED && l->n_refused < QUICK_RETRIES_MAX) {
        retry_later(l, QUICK_RETRY << l->n_refused++);
        return;
    }
    if (health != POD_WATCH_LIVE)
        pods->refused_until = clock_mono() + REFUSED_QUIET;
    finish(l, NULL);
}

static void on_found(struct lookup *l)
{
    const struct buf *body = &l->exchange.body;
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    _cleanup_(pod_freep) struct pod *pod = NULL;
    int r = json_parse_with_nul(buf_text(body), body->len, &json, NULL);

    if (r == 0)
        r = pod_decode(json, l->pods->options.driver_name, &pod);
    if (r == 0 && !pod_is(pod, l->namespace, l->name, l->uid))
        pod = pod_free(pod);
    finish(l, pod);
}

static void on_answered(void *userdata, const struct error *error)
{
    struct lookup *l = userdata;
    struct node_pods *pods = l->pods;
    int status = l->exchange.status;

    count_end(l);
    if (error != NULL || status == 429 || status / 100 == 5)
        on_failed(l);
    else if (status == 200)
        on_found(l);
    else if (status == 401 || status == 403)
        on_refused(l);
    else
        finish(l, NULL);
    send_waiting(pods);
}

static int lookup_send(struct lookup *l, struct error *e)
{
    char path[sizeof("/api/v1/namespaces//pods/") + OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX];
    const struct http_call call = {.path = path, .total_limit = GET_LIMIT};
    int r;

    assert(!l->is_finished);
    assert(l->pods->n_requests < NODE_PODS_REQUESTS_MAX);
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s", l->namespace, l->name);
    l->wants_request = false;
    r = node_api_send(l->pods->options.api, &l->exchange, &call, e);
    l->pods->n_requests += r == 0;
    return r;
}

static struct lookup *next_waiting(struct node_pods *pods)
{
    struct lookup *l;

    list_for_each (l, &pods->lookups, link)
        if (l->wants_request && !l->is_finished)
            return l;
    return NULL;
}

/* Send requests in the order of lookups, up to the limit. */
static void send_waiting(struct node_pods *pods)
{
    struct lookup *l;

    while (pods->n_requests < NODE_PODS_REQUESTS_MAX && (l = next_waiting(pods)) != NULL) {
        struct error e = ERROR_INIT;

        if (lookup_send(l, &e) < 0)
            on_failed(l);
    }
}

void node_pods_query_expedite(struct node_pods_query *query)
{
    struct lookup *l = query != NULL ? query->lookup : NULL;

    if (l == NULL || l->is_finished)
        return;
    l->is_urgent = true;
    if (exchange_is_open(&l->exchange) || l->wants_request)
        return;
    l->retry = sd_event_source_disable_unref(l->retry);
    l->wants_request = true;
    send_waiting(l->pods);
}

/* ---- the watch */

static void request_on_response(void *userdata, const struct http_response *response)
{
    const struct node_pods *pods = userdata;

    watch_on_response(pod_watch_watch(pods->watch), response);
}

static void request_on_body(void *userdata, const char *bytes, size_t len)
{
    const struct node_pods *pods = userdata;

    watch_on_body(pod_watch_watch(pods->watch), bytes, len);
}

static void watch_cancel(void *userdata)
{
    struct node_pods *pods = userdata;

    if (pods->watch_request != NULL)
        pods->watch_request = pods->options.api->calls->cancel(pods->watch_request);
}

static void request_on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    const struct node_pods *pods = userdata;

    watch_cancel(userdata);
    watch_on_done(pod_watch_watch(pods->watch), outcome, error);
}

static void request_on_sent(void *userdata)
{
    const struct node_pods *pods = userdata;

    watch_on_sent(pod_watch_watch(pods->watch));
}

static int request_watch(void *userdata, const struct watch_request *request, struct error *e)
{
    static const struct http_handler handler = {request_on_response, request_on_body,
                                                request_on_done};
    const struct http_call call = {.path = request->path,
                                   .total_limit = request->total_limit,
                                   .is_watch = true,
                                   .on_sent = request_on_sent};
    struct node_pods *pods = userdata;
    struct node_api *api = pods->options.api;
    int r = node_api_open(api, e);

    if (r < 0)
        return r;
    pods->watch_version = api->calls->version(api->source);
    return api->calls->send(api->source, &call, &handler, pods, &pods->watch_request, e);
}

static int watch_reject_credentials(void *userdata, struct error *e)
{
    const struct node_pods *pods = userdata;
    const struct node_api *api = pods->options.api;

    api->calls->rejected(api->source, pods->watch_version);
    return 0;
}

static void on_watch_timer(void *userdata)
{
    const struct node_pods *pods = userdata;

    watch_on_timer(pod_watch_watch(pods->watch));
}

static void watch_set_timer(void *userdata, span_us delay)
{
    struct node_pods *pods = userdata;

    watch_clock_set(&pods->watch_clock, delay);
}

static void notify_changed(const struct node_pods *pods, const struct pod *pod)
{
    if (pods->options.changed != NULL)
        pods->options.changed(pods->options.userdata, pod);
}

static void watch_on_pod(void *userdata, const struct pod *pod)
{
    struct node_pods *pods = userdata;
    struct lookup *l = find_lookup(pods, pod->namespace, pod->name, pod->uid);

    if (l != NULL)
        finish(l, pod);
    notify_changed(pods, pod);
}

#define CONSEQUENCE                                                                                \
    "volumes that a pod mounts by subPath do not follow updates unless they have "                 \
    "`updates: in-place`"

static void watch_on_health(void *userdata, enum pod_watch_health health, const struct error *e)
{
    struct node_pods *pods = userdata;

    pods->problem = *e;
    pods->n_failures = health == POD_WATCH_LIVE ? 0 : pods->n_failures + 1;
    if (health == POD_WATCH_LIVE) {
        pods->refused_until = 0;
        if (pods->is_logged)
            log_info("pods of this node can be read again");
        pods->is_logged = false;
    } else if (!pods->is_logged &&
               (health == POD_WATCH_REFUSED || pods->n_failures >= FAILURES_TO_LOG)) {
        pods->is_logged = true;
        log_warn("cannot read the pods of this node; " CONSEQUENCE, "node", pods->options.node_name,
                 "reason", e->text);
    }
    notify_changed(pods, NULL);
}

static const struct pod_watch_io watch_io = {
    .watch = {.request = request_watch,
              .cancel = watch_cancel,
              .reject_credentials = watch_reject_credentials,
              .set_timer = watch_set_timer,
              .now = watch_clock_now,
              .random = watch_clock_random},
    .on_pod = watch_on_pod,
    .on_health = watch_on_health,
};

static int start_watch(struct node_pods *pods)
{
    const struct pod_watch_options options = {.driver_name = pods->options.driver_name,
                                              .node_name = pods->options.node_name,
                                              .pods = &pods->known};
    int r = watch_clock_init(&pods->watch_clock, pods->event, on_watch_timer, pods);

    if (r >= 0)
        r = pod_watch_new(&options, &watch_io, pods, &pods->watch);
    if (r >= 0)
        watch_start(pod_watch_watch(pods->watch));
    return r < 0 ? r : 0;
}

/* ---- queries */

/* Find or create the lookup of a pod. Return: NULL when the answer is unknown without one. */
static struct lookup *get_lookup(struct node_pods *pods, const struct node_pods_volume *volume)
{
    struct lookup *l = find_lookup(pods, volume->namespace, volume->pod, volume->pod_uid);

    if (l != NULL)
        return l;
    if (pods->watch == NULL || clock_mono() < pods->refused_until ||
        pods->n_lookups == NODE_PODS_LOOKUPS_MAX)
        return NULL;
    return lookup_new(pods, volume, &l) == 0 ? l : NULL;
}

static enum node_pods_answer wait_for_pod(struct node_pods *pods,
                                          const struct node_pods_volume *volume,
                                          node_pods_answer_fn *answered, void *userdata,
                                          struct node_pods_query **ret_query)
{
    _cleanup_(query_freep) struct node_pods_query *query = calloc(1, sizeof(*query));

    if (query == NULL)
        return NODE_PODS_UNKNOWN;
    list_init(&query->link);
    query->answered = answered;
    query->userdata = userdata;
    query->volume = strdup(volume->volume);
    query->lookup = query->volume != NULL ? get_lookup(pods, volume) : NULL;
    if (query->lookup == NULL)
        return NODE_PODS_UNKNOWN;
    assert(!query->lookup->is_finished);
    list_append(&query->lookup->queries, &query->link);
    *ret_query = TAKE(query);
    send_waiting(pods);
    return NODE_PODS_LATER;
}

const struct pod *node_pods_find(const struct node_pods *pods,
                                 const struct node_pods_volume *volume)
{
    return pods_find(&pods->known, volume->namespace, volume->pod, volume->pod_uid);
}

enum node_pods_answer node_pods_ask(struct node_pods *pods, const struct node_pods_volume *volume,
                                    node_pods_answer_fn *answered, void *userdata,
                                    struct node_pods_query **ret_query)
{
    const struct pod *pod = node_pods_find(pods, volume);

    if (pod != NULL)
        return answer_of(pod, volume->volume);
    return wait_for_pod(pods, volume, answered, userdata, ret_query);
}

/* ---- new and free */

int node_pods_new(sd_event *event, const struct node_pods_options *options,
                  struct node_pods **ret_pods)
{
    _cleanup_(node_pods_freep) struct node_pods *pods = calloc(1, sizeof(*pods));
    int r;

    if (pods == NULL)
        return -ENOMEM;
    pods->event = sd_event_ref(event);
    pods->options = *options;
    pods_init(&pods->known);
    list_init(&pods->lookups);
    r = node_api_open(options->api, &pods->problem);
    if (r == -EOPNOTSUPP)
        log_info("the pods of this node are not read; " CONSEQUENCE, "reason", pods->problem.text);
    r = r != -EOPNOTSUPP ? start_watch(pods) : 0;
    if (r < 0)
        return r;
    *ret_pods = TAKE(pods);
    return 0;
}

struct node_pods *node_pods_free(struct node_pods *pods)
{
    if (pods == NULL)
        return NULL;
    assert(list_is_empty(&pods->lookups));
    pod_watch_free(pods->watch);
    watch_clock_deinit(&pods->watch_clock);
    pods_deinit(&pods->known);
    sd_event_unref(pods->event);
    free(pods);
    return NULL;
}
