/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One GET of the node's own Node object, made when a volume shows a limit that its container does
 * not set (Y6). A node's resources change rarely, so what was read counts as recent for RECENT; an
 * older one is given out and requested again. The kubelet's credentials may read their own node;
 * other identities need the right to get nodes.
 */
#include "node/allocatable.h"

#include <stdio.h>

#include "base/buf.h"
#include "cache/object.h"
#include "encoding/json.h"
#include "fetcher/api/protocol.h"

#define GET_LIMIT       SPAN_SEC(10)
#define RECENT          SPAN_SEC(60)
#define RETRY_FIRST     SPAN_SEC(1) /* doubling */
#define RETRY_DOUBLINGS 6           /* up to a minute */
#define TIMER_SLACK     SPAN_MS(100)
/* A Node names up to 50 images, and has some 30 KiB. */
#define NODE_MAX_BYTES  (1u << 20)

struct allocatable {
    sd_event *event;
    struct allocatable_options options;
    struct source *source; /* NULL until it is open */
    struct http_request *request;
    sd_event_source *retry;
    unsigned version; /* of the credentials of the request */
    unsigned n_failed;
    int status;
    struct buf body;
    cJSON *resources; /* NULL: not known */
    mono_us read_at;
    struct error problem;
};

static void request(struct allocatable *a);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct allocatable *a = userdata;

    a->retry = sd_event_source_disable_unref(a->retry);
    request(a);
    return 0;
}

/* Without a timer the next allocatable_get() retries. */
static void retry_later(struct allocatable *a)
{
    unsigned doublings = a->n_failed < RETRY_DOUBLINGS ? a->n_failed : RETRY_DOUBLINGS;

    a->n_failed++;
    a->retry = sd_event_source_disable_unref(a->retry);
    sd_event_add_time_relative(a->event, &a->retry, CLOCK_MONOTONIC, RETRY_FIRST << doublings,
                               TIMER_SLACK, on_retry, a);
}

static void fail(struct allocatable *a, const struct error *reason)
{
    a->problem = *reason;
    error_prefix(&a->problem, -EIO, "cannot read the node %.253s", a->options.node_name);
    retry_later(a);
    a->options.changed(a->options.userdata);
}

static void on_response(void *userdata, const struct http_response *response)
{
    struct allocatable *a = userdata;

    a->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct allocatable *a = userdata;

    if (buf_add(&a->body, bytes, len) < 0)
        a->status = 0; /* too long: on_done() finds no valid JSON */
}

/* Take over what was read. Return: whether it is a Node. */
static bool read_node(struct allocatable *a)
{
    _cleanup_(cJSON_Deletep) cJSON *node = NULL;
    cJSON *status, *found;

    if (json_parse(buf_text(&a->body), a->body.len, &node, NULL) < 0)
        return false;
    status = cJSON_GetObjectItemCaseSensitive(node, "status");
    found = cJSON_DetachItemFromObjectCaseSensitive(status, "allocatable");
    if (!cJSON_IsObject(found)) {
        cJSON_Delete(found);
        return false;
    }
    cJSON_Delete(a->resources);
    a->resources = found;
    return true;
}

static void on_refused(struct allocatable *a)
{
    static const char allow[] = ": allow this identity to get nodes";
    const struct protocol_refusal refusal = {.status = a->status, .body = &a->body, .allow = allow};
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    if (a->status == 401)
        a->options.api->rejected(a->source, a->version);
    fail(a, &e);
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct allocatable *a = userdata;
    struct error invalid = ERROR_INIT;

    a->request = a->options.api->cancel(a->request);
    if (outcome != HTTP_COMPLETE) {
        fail(a, error);
    } else if (a->status != 200) {
        on_refused(a);
    } else if (!read_node(a)) {
        error_set(&invalid, -EINVAL, "the response is no Node with status.allocatable");
        fail(a, &invalid);
    } else {
        a->problem = ERROR_INIT;
        a->n_failed = 0;
        a->read_at = clock_mono();
        a->options.changed(a->options.userdata);
    }
}

static int send(struct allocatable *a, struct error *e)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    char path[sizeof("/api/v1/nodes/") + OBJECT_NAME_MAX];
    const struct http_call call = {.path = path, .total_limit = GET_LIMIT};
    const struct node_pods_api *api = a->options.api;
    int r = a->source == NULL ? api->open(a->options.api_userdata, &a->source, e) : 0;

    if (r == 0 && !object_name_is_valid(a->options.node_name))
        r = error_set(e, -EINVAL, "invalid name of a node");
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/api/v1/nodes/%s", a->options.node_name);
    a->status = 0;
    buf_reset(&a->body);
    a->version = api->version(a->source);
    return api->send(a->source, &call, &handler, a, &a->request, e);
}

static void request(struct allocatable *a)
{
    struct error e = ERROR_INIT;

    assert(a->request == NULL && a->retry == NULL);
    if (send(a, &e) < 0) {
        a->problem = e;
        retry_later(a);
    }
}

const cJSON *allocatable_get(struct allocatable *allocatable)
{
    struct allocatable *a = allocatable;
    bool is_recent = a->resources != NULL && clock_mono() - a->read_at < RECENT;

    if (!is_recent && a->request == NULL && a->retry == NULL)
        request(a);
    return a->resources;
}

const char *allocatable_problem(const struct allocatable *allocatable)
{
    return allocatable->problem.text;
}

int allocatable_new(sd_event *event, const struct allocatable_options *options,
                    struct allocatable **ret_allocatable)
{
    struct allocatable *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return -ENOMEM;
    a->event = sd_event_ref(event);
    a->options = *options;
    a->body = BUF_INIT(NODE_MAX_BYTES);
    *ret_allocatable = a;
    return 0;
}

struct allocatable *allocatable_free(struct allocatable *allocatable)
{
    struct allocatable *a = allocatable;

    if (a == NULL)
        return NULL;
    if (a->request != NULL)
        a->options.api->cancel(a->request);
    sd_event_source_disable_unref(a->retry);
    buf_deinit(&a->body);
    cJSON_Delete(a->resources);
    sd_event_unref(a->event);
    free(a);
    return NULL;
}
