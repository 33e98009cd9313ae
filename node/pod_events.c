/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events must not burden the API server when something fails for every pod at once, nor this
 * program when the server is slow or refuses them:
 *
 *   - the same event of a pod is posted again after POD_EVENTS_QUIET, with a count;
 *   - none is queued: the caller posts again what a limit defers, if it is still true then;
 *   - post_limits.c limits all of them: at most POD_EVENTS_PER_MINUTE, and none for a while after
 *     the API server refused or failed.
 *
 * The log also has what the events say.
 */
#include "node/pod_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "cache/object.h"
#include "encoding/json.h"
#include "node/post_limits.h"

#define POST_LIMIT   SPAN_SEC(10)
#define MESSAGE_MAX  1024  /* the API server's limit */
#define POD_NAME_MAX 200   /* as part of the event's name, which has at most 253 */
#define REFUSAL_MAX  4096u /* a Status; its message is what is read */

/* An event that was requested before. */
struct known_event {
    uint64_t hash;     /* of pod and reason; 0: unused */
    mono_us posted_at; /* if was_posted */
    bool was_posted;
    unsigned count;        /* of requests */
    struct timespec first; /* request; wall clock */
};

struct posting {
    struct pod_events *events;
    struct exchange exchange; /* open: in use */
    uint64_t hash;            /* of the event */
    char namespace[OBJECT_NAMESPACE_MAX + 1];
    struct pod_event_outcome outcome;
    mono_us started_at;
};

struct pod_events {
    struct pod_events_options options;
    struct known_event known[POD_EVENTS_KNOWN];
    struct posting postings[POD_EVENTS_POSTING];
    struct post_limits limits;
};

static const char *const result_names[] = {
    [POD_EVENT_POSTED] = "posted",
    [POD_EVENT_FAILED] = "failed",
    [POD_EVENT_DEFERRED] = "deferred",
    [POD_EVENT_DROPPED] = "dropped",
};

const char *pod_event_result_name(enum pod_event_result result)
{
    return result_names[result];
}

int pod_events_new(const struct pod_events_options *options, struct pod_events **ret_events)
{
    static const struct post_limits_options limits = {
        .per_minute = POD_EVENTS_PER_MINUTE,
        .burst = POD_EVENTS_PER_MINUTE,
        .cannot = "cannot post events on pods; see this log for their content",
        .again = "events on pods are posted again",
        .allow = ": allow this identity to create events"};
    struct pod_events *events = calloc(1, sizeof(*events));

    if (events == NULL)
        return -ENOMEM;
    events->options = *options;
    post_limits_init(&events->limits, &limits);
    *ret_events = events;
    return 0;
}

struct pod_events *pod_events_free(struct pod_events *events)
{
    if (events == NULL)
        return NULL;
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++)
        exchange_deinit(&events->postings[i].exchange);
    free(events);
    return NULL;
}

/* The posting is unused afterwards. */
static void finish(struct posting *p, enum pod_event_result result)
{
    struct pod_events *events = p->events;
    struct pod_event_outcome outcome = p->outcome;

    exchange_deinit(&p->exchange);
    outcome.result = result;
    events->options.done(events->options.userdata, &outcome);
}

void pod_events_forget(struct pod_events *events, const struct source *source)
{
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++) {
        struct posting *p = &events->postings[i];

        if (exchange_is_open(&p->exchange) && p->exchange.source == source)
            finish(p, POD_EVENT_DROPPED);
    }
}

/* ---- limits */

static uint64_t hash_event(const struct pod_event *event)
{
    uint64_t hash =
        post_limits_hash(post_limits_hash(POST_LIMITS_HASH, event->namespace), event->pod);

    return post_limits_hash(hash, event->reason) | 1;
}

/* Find the entry of an event; a new one replaces the entry that was posted longest ago. */
static struct known_event *find_known(struct pod_events *events, const struct pod_event *event)
{
    uint64_t hash = hash_event(event);
    struct known_event *oldest = &events->known[0];

    for (size_t i = 0; i < POD_EVENTS_KNOWN; i++) {
        struct known_event *k = &events->known[i];

        if (k->hash == hash)
            return k;
        if (k->hash == 0 || (oldest->hash != 0 && k->posted_at < oldest->posted_at))
            oldest = k;
    }
    assert(hash != 0); /* which marks an unused entry */
    *oldest = (struct known_event){.hash = hash, .first = clock_wall()};
    return oldest;
}

static struct posting *find_free(struct pod_events *events)
{
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++)
        if (!exchange_is_open(&events->postings[i].exchange))
            return &events->postings[i];
    return NULL;
}

/* ---- the request body */

/* "web-0.17a2b3c4d5e6f708", the kubelet's scheme. */
static void write_name(char *name, size_t size, const char *pod)
{
    uint64_t random = 0;
    size_t len = size_min(strlen(pod), POD_NAME_MAX);

    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = clock_mono(); /* a name that exists costs one event */
    while (len > 0 && (pod[len - 1] == '.' || pod[len - 1] == '-'))
        len--;
    snprintf(name, size, "%.*s.%016" PRIx64, (int)len, pod, random);
}

static int add_pod(cJSON *json, const struct pod_event *event)
{
    cJSON *object = cJSON_AddObjectToObject(json, "involvedObject");
    int r = 0;

    r |= json_add_text(object, "apiVersion", "v1");
    r |= json_add_text(object, "kind", "Pod");
    r |= json_add_text(object, "namespace", event->namespace);
    r |= json_add_text(object, "name", event->pod);
    r |= json_add_text(object, "uid", event->pod_uid);
    return r;
}

static int add_origin(cJSON *json, const struct pod_events *events)
{
    cJSON *source = cJSON_AddObjectToObject(json, "source");
    int r = 0;

    r |= json_add_text(source, "component", events->options.component);
    r |= json_add_text(source, "host", events->options.node_id);
    r |= json_add_text(json, "reportingComponent", events->options.component);
    r |= json_add_text(json, "reportingInstance", events->options.node_id);
    return r;
}

static int fill(cJSON *json, const struct pod_events *events, const struct pod_event *event,
                const struct known_event *known)
{
    cJSON *metadata = cJSON_AddObjectToObject(json, "metadata");
    char event_name[256], message[MESSAGE_MAX + 1], text[CLOCK_RFC3339_SIZE];
    int r = 0;

    write_name(event_name, sizeof(event_name), event->pod);
    snprintf(message, sizeof(message), "%s", event->message);
    r |= json_add_text(json, "apiVersion", "v1");
    r |= json_add_text(json, "kind", "Event");
    r |= json_add_text(metadata, "name", event_name);
    r |= json_add_text(metadata, "namespace", event->namespace);
    r |= add_pod(json, event);
    r |= json_add_text(json, "type", event->is_warning ? "Warning" : "Normal");
    r |= json_add_text(json, "reason", event->reason);
    r |= json_add_text(json, "message", message);
    r |= json_add_number(json, "count", known->count);
    r |= json_add_text(json, "firstTimestamp", clock_rfc3339(known->first, text));
    r |= json_add_text(json, "lastTimestamp", clock_rfc3339(clock_wall(), text));
    r |= add_origin(json, events);
    return r < 0 ? -ENOMEM : 0;
}

/* Return: the body, to be freed by cJSON_free(); NULL when memory is short. */
static char *make_body(const struct pod_events *events, const struct pod_event *event,
                       const struct known_event *known)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();

    if (fill(json, events, event, known) < 0)
        return NULL;
    return cJSON_PrintUnformatted(json);
}

/* ---- posting */

/* So that it is no equal event when it is posted again. */
static void forget_posting(struct pod_events *events, uint64_t hash)
{
    for (size_t i = 0; i < POD_EVENTS_KNOWN; i++)
        if (events->known[i].hash == hash)
            events->known[i].was_posted = false;
}

static void on_done(void *userdata, const struct error *error)
{
    struct posting *p = userdata;
    struct pod_events *events = p->events;
    const struct post post = {.namespace = p->namespace, .started_at = p->started_at};

    if (post_limits_settle(&events->limits, &post, &p->exchange, error)) {
        finish(p, POD_EVENT_POSTED);
        return;
    }
    forget_posting(events, p->hash);
    finish(p, POD_EVENT_FAILED);
}

static int send_event(struct posting *p, struct source *source, const struct pod_event *event,
                      const struct known_event *known)
{
    struct pod_events *events = p->events;
    char path[sizeof("/api/v1/namespaces//events") + OBJECT_NAMESPACE_MAX];
    struct http_call call = {.path = path, .total_limit = POST_LIMIT};
    struct error e = ERROR_INIT;
    char *body;
    int r;

    if (event->namespace[0] == '\0' || strlen(event->namespace) > OBJECT_NAMESPACE_MAX)
        return -EINVAL;
    snprintf(p->namespace, sizeof(p->namespace), "%s", event->namespace);
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events", event->namespace);
    body = make_body(events, event, known);
    if (body == NULL)
        return -ENOMEM;
    call.body = body;
    r = exchange_send(&p->exchange, source, &call, &e);
    cJSON_free(body);
    if (r < 0)
        post_limits_failed(&events->limits, e.text, p->started_at);
    return r;
}

int pod_events_post(struct pod_events *events, struct source *source, const struct pod_event *event,
                    mono_us now)
{
    struct known_event *known = find_known(events, event);
    struct pod_event_outcome outcome = {POD_EVENT_DROPPED, event->owner, event->tag};
    struct posting *p = find_free(events);
    const struct exchange_options exchange = {
        .calls = events->options.calls, .body_max = REFUSAL_MAX, .done = on_done, .userdata = p};

    if (known->was_posted && now - known->posted_at < POD_EVENTS_QUIET) {
        known->count++;
        events->options.done(events->options.userdata, &outcome);
        return 0;
    }
    if (p == NULL || !post_limits_take(&events->limits, source, event->namespace, now))
        return -EAGAIN;
    known->count++;
    known->was_posted = true;
    known->posted_at = now;
    *p = (struct posting){
        .events = events, .hash = known->hash, .outcome = outcome, .started_at = now};
    exchange_init(&p->exchange, &exchange);
    if (send_event(p, source, event, known) < 0) {
        known->was_posted = false;
        finish(p, POD_EVENT_FAILED);
    }
    return 0;
}
