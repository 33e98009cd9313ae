/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events must not burden the API server when something fails for every pod at once, nor this
 * program when the server is slow or refuses them:
 *
 *   - at most POD_EVENTS_PER_MINUTE are posted, limited by a token bucket;
 *   - the same event of a pod is posted again after POD_EVENTS_QUIET, with a count;
 *   - none is queued: the caller posts again what a limit defers, if it is still true then;
 *   - after a refusal (4xx) none is posted in that namespace for REFUSED_QUIET. The cause may be
 * the namespace, which has a quota or is being deleted, so the others go on;
 *   - after a failure of the server or the network none is posted for a while, which doubles.
 *
 * The first failure and the first refusal in a namespace are logged, and the recovery. The log also
 * has what the events say.
 */
#include "node/pod_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"
#include "cache/object.h"
#include "encoding/json.h"
#include "fetcher/api/protocol.h"

#define POST_LIMIT         SPAN_SEC(10)
#define REFUSED_QUIET      SPAN_SEC(600)
#define FAILED_QUIET       SPAN_SEC(15)
#define FAILED_QUIET_MAX   SPAN_SEC(240)
#define ONE_EVENT          (SPAN_SEC(60) / POD_EVENTS_PER_MINUTE) /* for one token of the bucket */
#define MESSAGE_MAX        1024                                   /* the API server's limit */
#define POD_NAME_MAX       200   /* as part of the event's name, which has at most 253 */
#define REFUSAL_MAX        4096u /* a Status; its message is what is read */
#define REFUSED_NAMESPACES 64

/* An event that was requested before. */
struct known_event {
    uint64_t hash;     /* of pod and reason; 0: unused */
    mono_us posted_at; /* if was_posted */
    bool was_posted;
    unsigned count;        /* of requests */
    struct timespec first; /* request; wall clock */
};

/* An identity's events in a namespace, which the API server refused. */
struct refused_namespace {
    uint64_t hash; /* of the source and the name; 0: unused */
    mono_us until;
};

struct posting {
    struct pod_events *events;
    struct http_request *request; /* NULL: unused */
    const struct source *source;
    uint64_t hash; /* of the event */
    char namespace[OBJECT_NAMESPACE_MAX + 1];
    struct pod_event_outcome outcome;
    int status;
    struct buf body; /* while the answer is a refusal */
    mono_us started_at;
};

struct pod_events {
    struct pod_events_options options;
    struct known_event known[POD_EVENTS_KNOWN];
    struct posting postings[POD_EVENTS_POSTING];
    struct refused_namespace refused[REFUSED_NAMESPACES];
    mono_us empty_at; /* when the bucket was last empty: the time since then is its fill */
    mono_us failed_until;
    span_us failed_quiet; /* 0: the last one was posted; else the failure was logged */
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
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++) {
        events->options.cancel(events->postings[i].request);
        buf_deinit(&events->postings[i].body);
    }
    free(events);
    return NULL;
}

/* The posting is unused afterwards. */
static void finish(struct posting *p, enum pod_event_result result)
{
    struct pod_events *events = p->events;
    struct pod_event_outcome outcome = p->outcome;

    p->request = events->options.cancel(p->request);
    buf_deinit(&p->body);
    outcome.result = result;
    events->options.done(events->options.userdata, &outcome);
}

void pod_events_forget(struct pod_events *events, const struct source *source)
{
    for (size_t i = 0; i < POD_EVENTS_POSTING; i++) {
        struct posting *p = &events->postings[i];

        if (p->request != NULL && p->source == source)
            finish(p, POD_EVENT_DROPPED);
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

#define HASH_INIT UINT64_C(0xcbf29ce484222325)

static uint64_t hash_namespace(const struct source *source, const char *namespace)
{
    return hash_text(HASH_INIT ^ (uintptr_t)source, namespace) | 1;
}

static uint64_t hash_event(const struct pod_event *event)
{
    uint64_t hash = hash_text(hash_text(HASH_INIT, event->namespace), event->pod);

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

static const struct refused_namespace *find_refused(const struct pod_events *events,
                                                    const struct source *source,
                                                    const char *namespace)
{
    uint64_t hash = hash_namespace(source, namespace);

    for (size_t i = 0; i < REFUSED_NAMESPACES; i++)
        if (events->refused[i].hash == hash)
            return &events->refused[i];
    return NULL;
}

/* It replaces the one that ends first. */
static void refuse_namespace(struct pod_events *events, const struct posting *p)
{
    uint64_t hash = hash_namespace(p->source, p->namespace);
    struct refused_namespace *found = &events->refused[0];

    for (size_t i = 1; i < REFUSED_NAMESPACES && found->hash != hash; i++)
        if (events->refused[i].hash == hash || events->refused[i].until < found->until)
            found = &events->refused[i];
    *found = (struct refused_namespace){.hash = hash, .until = p->started_at + REFUSED_QUIET};
}

/* Whether an event of that namespace would fail, as earlier ones did. */
static bool is_quiet(const struct pod_events *events, const struct source *source,
                     const char *namespace, mono_us now)
{
    const struct refused_namespace *refused = find_refused(events, source, namespace);

    return now < events->failed_until || (refused != NULL && now < refused->until);
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

static const char posts_none[] = "cannot post events on pods; see this log for their content";

/* @started_at: when it was sent; others in flight may have failed since */
static void handle_failure(struct pod_events *events, const char *reason, mono_us started_at)
{
    if (started_at < events->failed_until)
        return;
    if (events->failed_quiet == 0)
        log_warn(posts_none, "reason", reason);
    if (events->failed_quiet == 0)
        events->failed_quiet = FAILED_QUIET;
    else if (events->failed_quiet < FAILED_QUIET_MAX)
        events->failed_quiet *= 2;
    events->failed_until = started_at + events->failed_quiet;
}

static void handle_success(struct pod_events *events)
{
    if (events->failed_quiet != 0)
        log_info("events on pods are posted again");
    events->failed_quiet = 0;
    events->failed_until = 0;
}

/* Logged once for a namespace, unless more than REFUSED_NAMESPACES of them refuse. */
static void handle_refusal(struct posting *p)
{
    static const char allow[] = ": allow this identity to create events";
    const struct protocol_refusal refusal = {.status = p->status, .body = &p->body, .allow = allow};
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    if (find_refused(p->events, p->source, p->namespace) == NULL)
        log_warn(posts_none, "namespace", p->namespace, "reason", e.text);
    refuse_namespace(p->events, p);
}

/* So that it is no equal event when it is posted again. */
static void forget_posting(struct pod_events *events, uint64_t hash)
{
    for (size_t i = 0; i < POD_EVENTS_KNOWN; i++)
        if (events->known[i].hash == hash)
            events->known[i].was_posted = false;
}

static void on_response(void *userdata, const struct http_response *response)
{
    struct posting *p = userdata;

    p->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct posting *p = userdata;

    if (p->status / 100 == 4 && buf_add(&p->body, bytes, len) < 0)
        buf_reset(&p->body); /* too long, or no memory: the log line has no reason */
}

static bool is_refused(const struct posting *p)
{
    return p->status / 100 == 4 && p->status != 408 && p->status != 429;
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct posting *p = userdata;
    struct pod_events *events = p->events;
    char text[64];

    if (outcome == HTTP_COMPLETE && p->status / 100 == 2) {
        handle_success(events);
        finish(p, POD_EVENT_POSTED);
        return;
    }
    snprintf(text, sizeof(text), "the API server answered with status %d", p->status);
    if (outcome == HTTP_COMPLETE && is_refused(p))
        handle_refusal(p);
    else
        handle_failure(events, outcome == HTTP_COMPLETE ? text : error->text, p->started_at);
    forget_posting(events, p->hash);
    finish(p, POD_EVENT_FAILED);
}

static int send_event(struct posting *p, struct source *source, const struct pod_event *event,
                      const struct known_event *known)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
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
    r = events->options.send(source, &call, &handler, p, &p->request, &e);
    cJSON_free(body);
    if (r < 0)
        handle_failure(events, e.text, p->started_at);
    return r;
}

int pod_events_post(struct pod_events *events, struct source *source, const struct pod_event *event,
                    mono_us now)
{
    struct known_event *known = find_known(events, event);
    struct pod_event_outcome outcome = {POD_EVENT_DROPPED, event->owner, event->tag};
    struct posting *p = find_free(events);

    if (known->was_posted && now - known->posted_at < POD_EVENTS_QUIET) {
        known->count++;
        events->options.done(events->options.userdata, &outcome);
        return 0;
    }
    if (p == NULL || is_quiet(events, source, event->namespace, now) || !take_token(events, now))
        return -EAGAIN;
    known->count++;
    known->was_posted = true;
    known->posted_at = now;
    *p = (struct posting){.events = events,
                          .source = source,
                          .hash = known->hash,
                          .outcome = outcome,
                          .body = BUF_INIT(REFUSAL_MAX),
                          .started_at = now};
    if (send_event(p, source, event, known) < 0) {
        known->was_posted = false;
        finish(p, POD_EVENT_FAILED);
    }
    return 0;
}
