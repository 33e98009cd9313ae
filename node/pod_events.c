/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events must not burden the API server when something fails for every pod at once, nor this
 * program when the server is slow or refuses them:
 *
 *   - at most POD_EVENTS_PER_MINUTE are posted, limited by a token bucket;
 *   - the same event of a pod is posted again after POD_EVENTS_QUIET, with a count;
 *   - none is queued: an event that cannot be posted now is dropped and counted;
 *   - after 401 or 403 none is posted for FORBIDDEN_QUIET.
 *
 * The first failure is logged, and the recovery. The log also has what the events say.
 */
#include "node/pod_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"
#include "cache/object.h"
#include "encoding/json.h"

#define POST_LIMIT      SPAN_SEC(10)
#define FORBIDDEN_QUIET SPAN_SEC(600)
#define ONE_EVENT       (SPAN_SEC(60) / POD_EVENTS_PER_MINUTE) /* for one token of the bucket */
#define MESSAGE_MAX     1024                                   /* the API server's limit */
#define POD_NAME_MAX    200 /* as part of the event's name, which has at most 253 */

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
    struct http_request *request; /* NULL: unused */
    const struct source *source;
    int status;
    mono_us started_at;
};

struct pod_events {
    struct pod_events_options options;
    struct known_event known[POD_EVENTS_KNOWN];
    struct posting postings[POD_EVENTS_POSTING];
    mono_us empty_at; /* when the bucket was last empty: the time since then is its fill */
    mono_us forbidden_until;
    bool is_failing; /* and that was logged */
};

static const char *const result_names[] = {
    [POD_EVENT_POSTED] = "posted", [POD_EVENT_FAILED] = "failed", [POD_EVENT_DROPPED] = "dropped"};

const char *pod_event_result_name(enum pod_event_result result)
{
    return result_names[result];
}

int pod_events_new(const struct pod_events_options *options, struct pod_events **ret_events)
{
    struct pod_events *events = calloc(1, sizeof(*events));

    if (events == NULL)
        return -ENOMEM;
    events->options = *options;
    *ret_events = events;
    return 0;
}

struct pod_events *pod_events_free(struct pod_events *events)
{
    if (events == NULL)
        return NULL;
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++)
        events->options.cancel(events->postings[i].request);
    free(events);
    return NULL;
}

static void finish(const struct pod_events *events, enum pod_event_result result)
{
    events->options.done(events->options.userdata, result);
}

void pod_events_forget(struct pod_events *events, const struct source *source)
{
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++) {
        struct posting *p = &events->postings[i];

        if (p->request == NULL || p->source != source)
            continue;
        p->request = events->options.cancel(p->request);
        finish(events, POD_EVENT_DROPPED);
    }
}

/* ---- limits */

/* FNV-1a. An author of colliding pods only suppresses events of these. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        hash = (hash ^ *c) * UINT64_C(0x100000001b3);
    return hash * UINT64_C(0x100000001b3);
}

static uint64_t hash_event(const struct pod_event *event)
{
    uint64_t hash = hash_text(UINT64_C(0xcbf29ce484222325), event->namespace);

    hash = hash_text(hash, event->pod);
    return hash_text(hash, event->reason) | 1;
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

/* Return: whether there was a token. */
static bool take_token(struct pod_events *events, mono_us now)
{
    span_us full = ONE_EVENT * POD_EVENTS_PER_MINUTE;

    assert(now >= events->empty_at);
    if (now - events->empty_at > full)
        events->empty_at = now - full;
    if (now - events->empty_at < ONE_EVENT)
        return false;
    events->empty_at += ONE_EVENT;
    return true;
}

static struct posting *find_free(struct pod_events *events)
{
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++)
        if (events->postings[i].request == NULL)
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

static void handle_failure(struct pod_events *events, const char *reason)
{
    if (!events->is_failing)
        log_warn("cannot post events on pods; see this log for their content", "reason", reason);
    events->is_failing = true;
}

static void handle_status(struct pod_events *events, const struct posting *p)
{
    char text[128];

    if (p->status / 100 == 2) {
        if (events->is_failing)
            log_info("events on pods are posted again");
        events->is_failing = false;
        return;
    }
    if (p->status == 401 || p->status == 403)
        events->forbidden_until = p->started_at + FORBIDDEN_QUIET;
    snprintf(text, sizeof(text), "the API server answered with status %d%s", p->status,
             p->status == 403 ? ": the identity may not create events" : "");
    handle_failure(events, text);
}

static void on_response(void *userdata, const struct http_response *response)
{
    struct posting *p = userdata;

    p->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct posting *p = userdata;
    struct pod_events *events = p->events;
    bool is_good = outcome == HTTP_COMPLETE && p->status / 100 == 2;

    p->request = events->options.cancel(p->request);
    if (outcome == HTTP_COMPLETE)
        handle_status(events, p);
    else
        handle_failure(events, error->text);
    finish(events, is_good ? POD_EVENT_POSTED : POD_EVENT_FAILED);
}

static int send_event(struct pod_events *events, struct posting *p, struct source *source,
                      const struct pod_event *event, const struct known_event *known)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    char path[sizeof("/api/v1/namespaces//events") + OBJECT_NAMESPACE_MAX];
    struct http_call call = {.path = path, .total_limit = POST_LIMIT};
    struct error e = ERROR_INIT;
    char *body;
    int r;

    if (event->namespace[0] == '\0' || strlen(event->namespace) > OBJECT_NAMESPACE_MAX)
        return -EINVAL;
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events", event->namespace);
    body = make_body(events, event, known);
    if (body == NULL)
        return -ENOMEM;
    call.body = body;
    r = events->options.send(source, &call, &handler, p, &p->request, &e);
    cJSON_free(body);
    if (r < 0)
        handle_failure(events, e.text);
    return r;
}

void pod_events_post(struct pod_events *events, struct source *source,
                     const struct pod_event *event, mono_us now)
{
    struct known_event *known = find_known(events, event);
    bool is_quiet = known->was_posted && now - known->posted_at < POD_EVENTS_QUIET;
    struct posting *p = find_free(events);

    known->count++;
    if (is_quiet || now < events->forbidden_until || p == NULL || !take_token(events, now)) {
        finish(events, POD_EVENT_DROPPED);
        return;
    }
    known->was_posted = true;
    known->posted_at = now;
    *p = (struct posting){.events = events, .source = source, .started_at = now};
    if (send_event(events, p, source, event, known) < 0) {
        p->request = NULL;
        finish(events, POD_EVENT_FAILED);
    }
}
