/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key of this source names a pod, by its uid, and what a volume shows of it. The objects come
 * from what the daemon itself reads of the node's pods (pods.c), with its own rights and not with
 * those of an identity; a volume subscribes to keys of its own pod only.
 *
 * Each event of the watch computes the objects of that pod again, so a changed label is in its file
 * when the event has arrived. An object with the same values is not put again: a pod's status
 * changes much more often than what is shown of it.
 *
 * | the pod                                 | the key                                           |
 * |-----------------------------------------|---------------------------------------------------|
 * | is known, and watched                   | present, live                                     |
 * | is known, the watch fails or is refused | present, failing: changes do not arrive           |
 * | cannot be read                          | failing; requested again after RETRY              |
 * | has no such container, or the node's    | failing, for that reason; the last object stays   |
 * | resources are not known                 |                                                   |
 *
 * A deleted pod changes nothing: what was shown last stays until its volumes are unpublished (H8).
 */
#include "node/pod_source.h"

#include "encoding/json.h"
#include "node/pod_certificates.h"
#include "node/pod_tokens.h"
#include "volume/pod_fields.h"

#define RETRY       SPAN_SEC(5)
#define TIMER_SLACK SPAN_MS(100)

struct pod_source {
    sd_event *event;
    struct store *store;
    struct node_pods *pods;
    struct allocatable *allocatable;
    struct pod_tokens *tokens;
    struct pod_certificates *certificates;
    struct list followed;
};

/* A key of fields that has subscribers. */
struct followed {
    struct list link;
    struct pod_source *source;
    const struct object_key *key; /* the store's */
    char *uid;                    /* of the pod */
    struct node_pods_query *query;
    sd_event_source *retry;
    struct object *object; /* the last one; a reference */
    bool waits_for_node;
};

struct store *pod_source_store(const struct pod_source *source)
{
    return source->store;
}

/* ---- objects */

static void report_failure(struct followed *f, const struct error *e)
{
    store_report(f->source->store, f->key, STORE_SOURCE_FAILING, e);
}

/* Whether changes of the pod will arrive. */
static void report_watch(struct followed *f)
{
    const char *problem = node_pods_problem(f->source->pods);
    struct error e = ERROR_INIT;

    if (problem[0] == '\0') {
        store_report(f->source->store, f->key, STORE_SOURCE_LIVE, NULL);
        return;
    }
    error_set(&e, -EIO, "changes of the pod are not read: %s", problem);
    report_failure(f, &e);
}

static bool has_same_values(const struct object *a, const struct object *b)
{
    if (a->n_entries != b->n_entries)
        return false;
    for (size_t i = 0; i < a->n_entries; i++) {
        const struct object_entry *x = &a->entries[i], *y = &b->entries[i];

        if (!streq(x->key, y->key) || x->len != y->len || memcmp(x->bytes, y->bytes, x->len) != 0)
            return false;
    }
    return true;
}

static void put(struct followed *f, struct object *object_consumed)
{
    if (f->object != NULL && has_same_values(f->object, object_consumed)) {
        object_unref(object_consumed);
        return;
    }
    object_unref(f->object);
    f->object = object_ref(object_consumed);
    store_put(f->source->store, object_consumed, clock_mono());
}

/* What is read of a pod for all of its keys. */
struct reading {
    cJSON *details; /* NULL: not read yet */
    struct pod_facts facts;
};

static void reading_deinit(struct reading *reading)
{
    pod_facts_deinit(&reading->facts);
    cJSON_Delete(reading->details);
}

/* Once for all keys of a pod. Return: 0; -ENOMEM with @e. */
static int read_pod(const struct pod *pod, struct reading *reading, struct error *e)
{
    int r;

    if (reading->details != NULL)
        return 0;
    r = pod_details(pod, &reading->details);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the pod");
    reading->facts = (struct pod_facts){.name = pod->name,
                                        .namespace = pod->namespace,
                                        .uid = pod->uid,
                                        .resource_version = pod->resource_version,
                                        .details = reading->details};
    r = pod_facts_init(&reading->facts);
    return r < 0 ? error_set_errno(e, r, "cannot read the pod") : 0;
}

static int make_object(struct followed *f, const struct pod *pod, struct reading *reading,
                       struct object **ret_object, struct error *e)
{
    struct pod_facts *facts = &reading->facts;
    int r = read_pod(pod, reading, e);

    if (r < 0)
        return r;
    f->waits_for_node = pod_fields_need_node(f->key, facts);
    if (f->waits_for_node)
        facts->allocatable = allocatable_get(f->source->allocatable);
    r = pod_fields_object(f->key, facts, ret_object, e);
    if (r == -EAGAIN && allocatable_problem(f->source->allocatable)[0] != '\0')
        error_set(e, r, "%s", allocatable_problem(f->source->allocatable));
    return r;
}

static void update(struct followed *f, const struct pod *pod, struct reading *reading)
{
    struct object *object = NULL;
    struct error e = ERROR_INIT;
    int r = make_object(f, pod, reading, &object, &e);

    f->retry = sd_event_source_disable_unref(f->retry);
    if (r < 0) {
        report_failure(f, &e);
        return;
    }
    assert(object != NULL);
    put(f, object);
    report_watch(f);
}

static void on_known(struct followed *f, const struct pod *pod)
{
    struct reading reading = {.details = NULL};

    update(f, pod, &reading);
    reading_deinit(&reading);
}

/* ---- the pod */

static void follow(struct followed *f);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;

    f->retry = sd_event_source_disable_unref(f->retry);
    follow(f);
    return 0;
}

/* Without a timer the watch has to bring it. */
static void on_unknown(struct followed *f)
{
    const char *problem = node_pods_problem(f->source->pods);
    struct error e = ERROR_INIT;

    error_set(&e, -EIO, "cannot read the pod: %s",
              problem[0] != '\0' ? problem
                                 : "the API server did not send it, or it is larger than 1 MiB");
    f->retry = sd_event_source_disable_unref(f->retry);
    sd_event_add_time_relative(f->source->event, &f->retry, CLOCK_MONOTONIC, RETRY, TIMER_SLACK,
                               on_retry, f);
    report_failure(f, &e);
}

static void on_answer(void *userdata, enum node_pods_answer answer, const struct pod *pod)
{
    struct followed *f = userdata;

    f->query = NULL; /* it was freed */
    if (pod != NULL)
        on_known(f, pod);
    else
        on_unknown(f);
}

static void follow(struct followed *f)
{
    const struct node_pods_volume which = {
        .namespace = f->key->namespace, .pod = f->key->name, .pod_uid = f->uid, .volume = ""};
    const struct pod *pod = node_pods_find(f->source->pods, &which);

    assert(f->query == NULL);
    if (pod != NULL)
        on_known(f, pod);
    else if (node_pods_ask(f->source->pods, &which, on_answer, f, &f->query) != NODE_PODS_LATER)
        on_unknown(f);
}

void pod_source_on_pod(struct pod_source *source, const struct pod *pod)
{
    struct reading reading = {.details = NULL};
    struct followed *f, *next;

    list_for_each_safe (f, next, &source->followed, link) {
        if (pod == NULL && f->object != NULL && !f->waits_for_node)
            report_watch(f);
        else if (pod != NULL && pod_is(pod, f->key->namespace, f->key->name, f->uid))
            update(f, pod, &reading);
    }
    reading_deinit(&reading);
}

void pod_source_on_node(struct pod_source *source)
{
    struct followed *f, *next;

    list_for_each_safe (f, next, &source->followed, link)
        if (f->waits_for_node && f->query == NULL)
            follow(f);
}

/* ---- for the store */

static struct followed *followed_free(struct followed *f)
{
    if (f == NULL)
        return NULL;
    list_remove(&f->link);
    node_pods_query_free(f->query);
    sd_event_source_disable_unref(f->retry);
    object_unref(f->object);
    free(f->uid);
    free(f);
    return NULL;
}

static int watch_fields(struct pod_source *source, const struct object_key *key, struct error *e)
{
    struct followed *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot follow the pod %s", key->name);
    list_init(&f->link);
    f->source = source;
    f->key = key;
    f->uid = strndup(key->detail, strcspn(key->detail, "\n"));
    if (f->uid == NULL) {
        followed_free(f);
        return error_set_errno(e, -ENOMEM, "cannot follow the pod %s", key->name);
    }
    list_append(&source->followed, &f->link);
    follow(f);
    return 0;
}

static int source_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct pod_source *source = userdata;

    assert(!object_kind_is_stored(key->kind));
    if (key->kind == OBJECT_SERVICE_ACCOUNT_TOKEN)
        return pod_tokens_watch(source->tokens, key, e);
    if (key->kind == OBJECT_POD_CERTIFICATE)
        return pod_certificates_watch(source->certificates, key, e);
    return watch_fields(source, key, e);
}

static void source_unwatch(void *userdata, const struct object_key *key)
{
    const struct pod_source *source = userdata;
    struct followed *f, *next;

    if (key->kind == OBJECT_SERVICE_ACCOUNT_TOKEN)
        pod_tokens_unwatch(source->tokens, key);
    if (key->kind == OBJECT_POD_CERTIFICATE)
        pod_certificates_unwatch(source->certificates, key);
    list_for_each_safe (f, next, &source->followed, link)
        if (f->key == key)
            followed_free(f);
}

static int new_certificates(struct pod_source *source, const struct pod_source_options *options)
{
    const struct pod_certificates_options certificates = {
        .node_name = options->node_name, .store = source->store, .api = options->api};

    return pod_certificates_new(source->event, &certificates, &source->certificates);
}

int pod_source_new(sd_event *event, const struct pod_source_options *options,
                   struct pod_source **ret_source)
{
    static const struct store_source ops = {.watch = source_watch, .unwatch = source_unwatch};
    _cleanup_(pod_source_freep) struct pod_source *source = calloc(1, sizeof(*source));
    int r;

    if (source == NULL)
        return -ENOMEM;
    list_init(&source->followed);
    source->event = sd_event_ref(event);
    source->pods = options->pods;
    source->allocatable = options->allocatable;
    r = store_new(&source->store);
    if (r == 0)
        r = pod_tokens_new(event, source->store, options->api, &source->tokens);
    if (r == 0)
        r = new_certificates(source, options);
    if (r < 0)
        return r;
    store_set_source(source->store, &ops, source);
    *ret_source = TAKE(source);
    return 0;
}

struct pod_source *pod_source_free(struct pod_source *source)
{
    if (source == NULL)
        return NULL;
    assert(list_is_empty(&source->followed));
    pod_certificates_free(source->certificates);
    pod_tokens_free(source->tokens);
    store_free(source->store);
    sd_event_unref(source->event);
    free(source);
    return NULL;
}
