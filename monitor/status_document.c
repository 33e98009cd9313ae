/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/status_document.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/secmem.h"
#include "version.h"

/*
 * All functions here return 0 or -ENOMEM only, and cJSON adds nothing to an object that it could
 * not allocate, so results are combined with |=.
 */

static int add_time(cJSON *json, const char *key, struct timespec t)
{
    char text[CLOCK_RFC3339_SIZE];

    return json_add_text(json, key, clock_rfc3339(t, text));
}

static const char *null_if_empty(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static int add_certificate(cJSON *object, const struct tls_pair *pair)
{
    cJSON *json = cJSON_AddObjectToObject(object, "certificate");
    struct error problem = ERROR_INIT;
    int r = 0;

    if (pair->not_after.tv_sec != 0)
        r |= add_time(json, "notAfter", pair->not_after);
    if (tls_pair_problem(pair, clock_wall(), &problem))
        r |= json_add_text(json, "problem", problem.text);
    return r;
}

/* ---- a volume */

static int fill_object(cJSON *json, const struct published *p, size_t i)
{
    const struct store_view *view = volume_view(p->volume, i);
    const struct tls_pair *pair = volume_tls(p->volume, i);
    const struct object *object = published_shown_object(p, i);
    int r = 0;

    r |= json_add_text(json, "kind", object_kind_name(view->key->kind));
    r |= json_add_text(json, "namespace", view->key->namespace);
    r |= json_add_text(json, "name", view->key->name);
    if (view->presence != STORE_PRESENT)
        r |= json_add_text(json, "presence", store_presence_name(view->presence));
    if (object != NULL) {
        r |= json_add_text(json, "uid", null_if_empty(object->uid));
        r |= json_add_text(json, "resourceVersion", null_if_empty(object->resource_version));
        r |= json_add_text(json, "type", null_if_empty(object->type));
        r |= json_add_bool(json, "immutable", object->is_immutable);
    }
    if (view->object != NULL &&
        (object == NULL || !streq(object->resource_version, view->object->resource_version)))
        r |= json_add_text(json, "newestResourceVersion", view->object->resource_version);
    return pair != NULL ? r | add_certificate(json, pair) : r;
}

/* "object" for a volume of one object, "objects" for a projected one. */
static int add_objects(cJSON *json, const struct published *p)
{
    const struct volume_spec *spec = p->options.spec;
    bool is_list = spec->kind == VOLUME_PROJECTED;
    cJSON *list = is_list ? cJSON_AddArrayToObject(json, "objects") : NULL;
    int r = 0;

    if (!is_list)
        return fill_object(cJSON_AddObjectToObject(json, "object"), p, 0);
    for (size_t i = 0; i < spec->n_sources; i++) {
        cJSON *object = cJSON_CreateObject();

        r |= fill_object(object, p, i);
        if (!cJSON_AddItemToArray(list, object)) {
            cJSON_Delete(object);
            r = -ENOMEM;
        }
    }
    return r;
}

static size_t payload_bytes(const struct payload *payload)
{
    size_t bytes = 0;

    for (size_t i = 0; i < payload->n_files; i++)
        bytes += payload->files[i].len;
    return bytes;
}

/* Files and directories that are mounted alone, and whether they follow updates. */
static int add_lone_mounts(cJSON *volume, const struct published *p)
{
    struct publisher_mounted_parts mounts;
    cJSON *described;
    int r;

    if (p->publisher == NULL)
        return 0;
    mounts = publisher_mounted_parts(p->publisher);
    described = cJSON_AddObjectToObject(volume, "mountedAlone");
    r = json_add_number(described, "count", (double)mounts.n);
    return r | json_add_bool(described, "live", mounts.follow);
}

/* A source that fails confirmed the content until it began to fail. */
static int add_last_confirmed(cJSON *volume, const struct published *p)
{
    const struct store_view *source = volume_least_healthy_source(p->volume);

    if (published_reader_state(p) != READER_DISCONNECTED)
        return 0;
    return add_time(volume, "lastConfirmed", clock_wall_at(source->source_state_since));
}

/* ---- consumers */

struct consumer_list {
    cJSON *list;
    int result;
};

static const char *consumer_state_name(enum consumer_state state)
{
    return state == CONSUMER_CURRENT ? "current" : "old";
}

static int add_key(cJSON *list, const struct table_key *key)
{
    cJSON *json = cJSON_CreateObject();
    char text[OBJECT_KEY_TEXT_SIZE];
    int r = 0;

    r |= json_add_text(json, "object", object_key_text(key->object, text));
    r |= json_add_text(json, "key", key->key);
    r |= json_add_text(json, "state", consumer_state_name(key->state));
    r |= json_add_text(json, "resourceVersion", null_if_empty(key->version));
    if (cJSON_AddItemToArray(list, json))
        return r;
    cJSON_Delete(json);
    return -ENOMEM;
}

static int add_keys(cJSON *json, const struct table_consumer *c)
{
    cJSON *list = cJSON_AddArrayToObject(json, "keys");
    int r = 0;

    for (size_t i = 0; i < c->n_keys; i++)
        r |= add_key(list, &c->keys[i]);
    return r;
}

static int fill_consumer(cJSON *json, const struct table_consumer *c)
{
    const struct consumer_identity *identity = c->identity;
    int r = 0;

    r |= json_add_text(json, "podUID", null_if_empty(identity->group.pod_uid));
    r |= json_add_text(json, "container", null_if_empty(identity->group.container));
    r |= json_add_text(json, "unit", null_if_empty(identity->group.unit));
    r |= json_add_text(json, "process", null_if_empty(identity->process.comm));
    if (identity->process.pid != 0)
        r |= json_add_number(json, "pid", (double)identity->process.pid);
    r |= json_add_text(json, "state", consumer_state_name(c->state));
    r |= add_keys(json, c);
    r |= add_time(json, "firstOpen", c->first_open);
    return r | add_time(json, "lastOpen", c->last_open);
}

static void add_consumer(void *userdata, const struct table_consumer *consumer)
{
    struct consumer_list *consumers = userdata;
    cJSON *json = cJSON_CreateObject();

    consumers->result |= fill_consumer(json, consumer);
    if (!cJSON_AddItemToArray(consumers->list, json)) {
        cJSON_Delete(json);
        consumers->result = -ENOMEM;
    }
}

static int add_gaps(cJSON *json, unsigned gaps)
{
    static const struct {
        enum table_gap gap;
        const char *reason;
    } reasons[] = {
        {TABLE_GAP_ADOPTED, "an earlier process served the volume"},
        {TABLE_GAP_LOST, "more opens at a time than are kept"},
        {TABLE_GAP_FULL, "more consumers or keys than the limits"},
        {TABLE_GAP_ENDED,
         "a process with older content ended before it was identified, or is in another "
         "pid namespace"},
    };
    unsigned lasting = gaps & ~(unsigned)TABLE_GAP_BEHIND;
    cJSON *list = lasting != 0 ? cJSON_AddArrayToObject(json, "notSeen") : NULL;

    for (size_t i = 0; i < ELEMENTS_OF(reasons); i++) {
        cJSON *reason = NULL;

        if ((gaps & reasons[i].gap) != 0)
            reason = cJSON_CreateString(reasons[i].reason);
        if ((gaps & reasons[i].gap) != 0 && !cJSON_AddItemToArray(list, reason)) {
            cJSON_Delete(reason);
            return -ENOMEM;
        }
    }
    return (gaps & TABLE_GAP_BEHIND) != 0 ? json_add_bool(json, "opensWait", true) : 0;
}

/* Generations that are about to be removed count with those that are held. */
static int add_consumers(cJSON *volume, const struct published *p)
{
    cJSON *json;
    struct consumer_list consumers = {.list = NULL};
    unsigned gaps = 0;
    size_t n_held = 0;
    int r;

    if (p->consumers == NULL || p->directory_id == 0)
        return 0;
    json = cJSON_AddObjectToObject(volume, "consumers");
    consumers.list = cJSON_AddArrayToObject(json, "list");
    r = consumers_visit(p->consumers, p->directory_id, add_consumer, &consumers, &gaps, &n_held);
    r = r < 0 ? json_add_bool(json, "known", false) : add_gaps(json, gaps);
    r |= json_add_number(json, "heldFiles", (double)n_held);
    r |=
        json_add_number(json, "oldGenerations", (double)publisher_volume_state(p->publisher).n_old);
    return r | consumers.result;
}

static int add_content(cJSON *json, const struct published *p)
{
    cJSON *volume = cJSON_AddObjectToObject(json, "volume");
    struct error e;
    int r = 0;

    r |= json_add_text(volume, "name", p->options.spec->name);
    r |= json_add_text(volume, "state", reader_state_name(published_reader_state(p)));
    r |= json_add_text(volume, "error", null_if_empty(published_reader_error(p, &e)));
    r |= add_last_confirmed(volume, p);
    r |= json_add_text(volume, "generation", null_if_empty(p->generation));
    if (p->shown == NULL)
        return r;
    r |= json_add_number(volume, "files", (double)p->shown->n_files);
    r |= json_add_number(volume, "bytes", (double)payload_bytes(p->shown));
    return r | add_lone_mounts(volume, p) | add_consumers(volume, p);
}

static int add_source(cJSON *json, const struct published *p, const struct source *source,
                      const char *identity)
{
    const struct store_view *view = volume_least_healthy_source(p->volume);
    cJSON *described = cJSON_AddObjectToObject(json, "source");
    int r = described == NULL ? -ENOMEM : 0;

    if (source != NULL && r == 0)
        r |= source->ops->describe(source, described);
    r |= json_add_text(described, "identity", identity);
    if (r < 0 || view == NULL)
        return r;
    r |= json_add_text(described, "state", store_source_state_name(view->source_state));
    r |= add_time(described, "since", clock_wall_at(view->source_state_since));
    r |= json_add_text(described, "error", null_if_empty(kept_error_text(&view->source_error)));
    return r;
}

static int add_last_update(cJSON *json, const struct published *p)
{
    cJSON *update = cJSON_AddObjectToObject(json, "lastUpdate");
    int r = 0;

    r |= add_time(update, "time", clock_wall_at(p->updated_at));
    r |= json_add_number(update, "latencySeconds", (double)p->update_latency_us / 1e6);
    r |= json_add_number(update, "count", (double)p->n_published);
    return r;
}

static int add_pod(cJSON *json, const struct published *p)
{
    char text[OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX + 2];

    if (p->options.pod == NULL)
        return 0;
    snprintf(text, sizeof(text), "%s/%s", p->options.namespace, p->options.pod);
    return json_add_text(json, "pod", text);
}

int status_document_volume(const struct published *published, const char *target,
                           const struct source *source, const char *identity, cJSON *json)
{
    int r = 0;

    r |= json_add_text(json, "mountpoint", target);
    r |= add_pod(json, published);
    if (published->volume != NULL) {
        r |= add_objects(json, published);
        r |= add_content(json, published);
        r |= add_source(json, published, source, identity);
    }
    if (published->n_published > 0)
        r |= add_last_update(json, published);
    return r < 0 ? -ENOMEM : 0;
}

/* ---- a process */

struct request_sum {
    cJSON *by_kind;
    uint64_t total;
    int result;
};

static void add_request_kind(void *userdata, const char *kind, uint64_t count)
{
    struct request_sum *sum = userdata;

    sum->total += count;
    sum->result |= json_add_number(sum->by_kind, kind, (double)count);
}

static int add_requests(cJSON *json, const struct request_counts *counts)
{
    cJSON *requests = cJSON_AddObjectToObject(json, "requests");
    struct request_sum sum = {.by_kind = cJSON_AddObjectToObject(requests, "byKind")};

    request_counts_visit(counts, add_request_kind, &sum);
    return sum.result | json_add_number(requests, "total", (double)sum.total);
}

static int add_memory(cJSON *json)
{
    cJSON *memory = cJSON_AddObjectToObject(json, "memory");
    int r = 0;

    r |= json_add_number(memory, "secretBytes", (double)secmem_bytes());
    r |= json_add_number(memory, "unlockedBytes", (double)secmem_unlocked_bytes());
    r |= json_add_number(memory, "lockableBytes", (double)secmem_lockable_bytes());
    return r;
}

/* As a new package does; the kernel says so behind the path. */
static bool is_program_replaced(void)
{
    static const char deleted[] = " (deleted)";
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (len < (ssize_t)sizeof(deleted))
        return false;
    path[len] = '\0';
    return streq(path + len - (sizeof(deleted) - 1), deleted);
}

int status_document_process(const char *kind, struct timespec started_at,
                            const struct request_counts *counts, cJSON *json)
{
    int r = 0;

    r |= json_add_text(json, "process", kind);
    r |= json_add_text(json, "version", SECRETFS_VERSION);
    r |= json_add_number(json, "pid", (double)getpid());
    r |= add_time(json, "since", started_at);
    r |= json_add_bool(json, "isProgramReplaced", is_program_replaced());
    r |= json_add_text(json, "notifySocket", getenv("NOTIFY_SOCKET"));
    r |= add_requests(json, counts);
    r |= add_memory(json);
    return r < 0 ? -ENOMEM : 0;
}

int status_document_source(const struct source *source, const char *identity, cJSON *json)
{
    int r = json_add_text(json, "identity", identity);

    return r < 0 ? r : source->ops->describe(source, json);
}

int status_document_handover(const char *file_system, struct handover *handover, cJSON *json)
{
    const struct handover_usage usage = handover_usage(handover);
    cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "handover");
    cJSON *one = cJSON_CreateObject();
    int r = 0;

    if (list == NULL)
        list = cJSON_AddArrayToObject(json, "handover");
    r |= json_add_text(one, "fileSystem", file_system);
    r |= json_add_bool(one, "complete", usage.is_complete);
    r |= json_add_number(one, "bytes", (double)usage.bytes);
    r |= json_add_text(one, "error", usage.error[0] != '\0' ? usage.error : NULL);
    if (!cJSON_AddItemToArray(list, one)) {
        cJSON_Delete(one);
        return -ENOMEM;
    }
    return r < 0 ? -ENOMEM : 0;
}

/* ---- debugging */

int status_document_debug_source(const struct source *source, cJSON *json)
{
    return source->ops->debug != NULL ? source->ops->debug(source, json) : 0;
}

static int add_queue(cJSON *debug, const struct publisher_volume *volume)
{
    const struct publisher_volume_state state = publisher_volume_state(volume);
    cJSON *queue = cJSON_AddObjectToObject(debug, "queue");
    int r = 0;

    r |= json_add_text(queue, "update", state.update);
    r |= json_add_text(queue, "oldGenerations", state.old);
    r |= json_add_number(queue, "oldGenerationsMax", state.n_old);
    r |= json_add_bool(queue, "payloadWaits", state.is_submitted);
    r |= json_add_bool(queue, "bindWaits", state.is_binding);
    r |= json_add_bool(queue, "liveFilesBehind", state.is_behind);
    r |= json_add_bool(queue, "active", state.is_active);
    return r;
}

static int add_history_entry(cJSON *list, const struct published *p,
                             const struct history_entry *entry)
{
    const struct object_key *key = volume_view(p->volume, entry->source)->key;
    cJSON *json = cJSON_CreateObject();
    char text[OBJECT_KEY_TEXT_SIZE];
    int r = 0;

    r |= json_add_text(json, "object", object_key_text(key, text));
    r |= json_add_text(json, "resourceVersion", entry->version);
    r |= add_time(json, "time", entry->at);
    if (cJSON_AddItemToArray(list, json))
        return r;
    cJSON_Delete(json);
    return -ENOMEM;
}

static int add_history(cJSON *debug, const struct published *p)
{
    cJSON *list = cJSON_AddArrayToObject(debug, "history");
    const struct history_entry *entry;
    int r = 0;

    for (size_t i = 0; (entry = history_get(&p->history, i)) != NULL; i++)
        r |= add_history_entry(list, p, entry);
    return r;
}

int status_document_debug_volume(const struct published *published, cJSON *json)
{
    cJSON *debug = cJSON_AddObjectToObject(json, "debug");
    int r = json_add_text(debug, "state", published_state_name(published));

    r |= add_history(debug, published);

    if (published->publisher != NULL)
        r |= add_queue(debug, published->publisher);
    return r;
}

/* ---- the text */

int status_document_print(cJSON *json_consumed, struct buf *text)
{
    _cleanup_(cJSON_Deletep) cJSON *json = json_consumed;
    char *line = json != NULL ? cJSON_PrintUnformatted(json) : NULL;
    int r = line != NULL ? buf_addf(text, "%s\n", line) : -ENOMEM;

    cJSON_free(line);
    return r;
}
