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
    struct exchange exchange;
    sd_event_source *retry;
    unsigned n_failed;
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
    span_us delay = span_doubled(RETRY_FIRST, a->n_failed++, RETRY_DOUBLINGS);

    a->retry = sd_event_source_disable_unref(a->retry);
    sd_event_add_time_relative(a->event, &a->retry, CLOCK_MONOTONIC, delay, TIMER_SLACK, on_retry,
                               a);
}

static void fail(struct allocatable *a, const struct error *reason)
{
    a->problem = *reason;
    error_prefix(&a->problem, -EIO, "cannot read the node %.253s", a->options.node_name);
    retry_later(a);
    a->options.changed(a->options.userdata);
}

/* Take over what was read. Return: whether it is a Node. */
static bool read_node(struct allocatable *a)
{
    const struct buf *body = &a->exchange.body;
    _cleanup_(cJSON_Deletep) cJSON *node = NULL;
    cJSON *status, *found;

    if (json_parse(buf_text(body), body->len, &node, NULL) < 0)
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
    const struct protocol_refusal refusal =
        exchange_refusal(&a->exchange, ": allow this identity to get nodes");
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    exchange_reject_credentials(&a->exchange);
    fail(a, &e);
}

static void on_answered(void *userdata, const struct error *error)
{
    struct allocatable *a = userdata;
    struct error invalid = ERROR_INIT;

    if (error != NULL) {
        fail(a, error);
    } else if (a->exchange.status != 200) {
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
    char path[sizeof("/api/v1/nodes/") + OBJECT_NAME_MAX];
    const struct http_call call = {.path = path, .total_limit = GET_LIMIT};

    if (!object_name_is_valid(a->options.node_name))
        return error_set(e, -EINVAL, "invalid name of a node");
    snprintf(path, sizeof(path), "/api/v1/nodes/%s", a->options.node_name);
    return node_api_send(a->options.api, &a->exchange, &call, e);
}

static void request(struct allocatable *a)
{
    struct error e = ERROR_INIT;

    assert(a->retry == NULL);
    if (send(a, &e) < 0) {
        a->problem = e;
        retry_later(a);
    }
}

const cJSON *allocatable_get(struct allocatable *allocatable)
{
    struct allocatable *a = allocatable;
    bool is_recent = a->resources != NULL && clock_mono() - a->read_at < RECENT;

    if (!is_recent && !exchange_is_open(&a->exchange) && a->retry == NULL)
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
    const struct exchange_options exchange = {.calls = options->api->calls,
                                              .body_max = NODE_MAX_BYTES,
                                              .done = on_answered,
                                              .userdata = a};

    if (a == NULL)
        return -ENOMEM;
    a->event = sd_event_ref(event);
    a->options = *options;
    exchange_init(&a->exchange, &exchange);
    *ret_allocatable = a;
    return 0;
}

struct allocatable *allocatable_free(struct allocatable *allocatable)
{
    struct allocatable *a = allocatable;

    if (a == NULL)
        return NULL;
    exchange_deinit(&a->exchange);
    sd_event_source_disable_unref(a->retry);
    cJSON_Delete(a->resources);
    sd_event_unref(a->event);
    free(a);
    return NULL;
}
