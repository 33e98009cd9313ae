/* SPDX-License-Identifier: Apache-2.0 */
/* The status document of a mount: what `secretfs status` prints. Names and numbers, no values. */
#include "base/json.h"
#include "cache/secmem.h"
#include "daemon/mount.h"
#include "version.h"

/*
 * All of these return 0 or -ENOMEM and nothing else, and cJSON adds nothing to an object that could
 * not be made, so that outcomes can be put together with |=.
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

static int fill_object(cJSON *json, const struct mount *m, size_t i)
{
    const struct store_view *view = volume_view(m->published.volume, i);
    const struct tls_pair *pair = volume_tls(m->published.volume, i);
    int r = 0;

    r |= json_add_text(json, "kind", object_kind_name(view->key->kind));
    r |= json_add_text(json, "namespace", view->key->namespace);
    r |= json_add_text(json, "name", view->key->name);
    if (view->presence != STORE_PRESENT)
        r |= json_add_text(json, "presence", store_presence_name(view->presence));
    if (view->object == NULL)
        return r;
    r |= json_add_text(json, "uid", null_if_empty(view->object->uid));
    r |= json_add_text(json, "resourceVersion", view->object->resource_version);
    r |= json_add_text(json, "type", null_if_empty(view->object->type));
    r |= json_add_bool(json, "immutable", view->object->is_immutable);
    return pair != NULL ? r | add_certificate(json, pair) : r;
}

/* The one object of a volume as "object", those of a projected one as "objects". */
static int add_objects(cJSON *status, const struct mount *m)
{
    bool is_list = m->options->spec->kind == VOLUME_PROJECTED;
    cJSON *list = is_list ? cJSON_AddArrayToObject(status, "objects") : NULL;
    int r = 0;

    if (!is_list)
        return fill_object(cJSON_AddObjectToObject(status, "object"), m, 0);
    for (size_t i = 0; i < m->options->spec->n_sources; i++) {
        cJSON *json = cJSON_CreateObject();

        r |= fill_object(json, m, i);
        if (!cJSON_AddItemToArray(list, json)) {
            cJSON_Delete(json);
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

static int add_volume(cJSON *status, const struct mount *m)
{
    cJSON *json = cJSON_AddObjectToObject(status, "volume");
    int r = 0;

    r |= json_add_text(json, "name", m->options->spec->name);
    r |= json_add_text(json, "state", volume_state_name(volume_state(m->published.volume)));
    r |= json_add_text(json, "error", null_if_empty(volume_error(m->published.volume)));
    r |= json_add_text(json, "generation", m->published.generation);
    r |= json_add_number(json, "files", (double)m->published.payload->n_files);
    r |= json_add_number(json, "bytes", (double)payload_bytes(m->published.payload));
    return r;
}

static int add_source(cJSON *status, const struct mount *m)
{
    const struct store_view *view = volume_worst_view(m->published.volume);
    cJSON *json = cJSON_AddObjectToObject(status, "source");
    int r = json != NULL ? m->source->ops->describe(m->source, json) : -ENOMEM;

    if (r < 0 || view == NULL)
        return r;
    r |= json_add_text(json, "state", store_source_state_name(view->source_state));
    r |= add_time(json, "since", view->source_state_since);
    r |= json_add_text(json, "error", null_if_empty(view->source_error.text));
    return r;
}

static int add_last_update(cJSON *status, const struct mount *m)
{
    cJSON *json = cJSON_AddObjectToObject(status, "lastUpdate");
    int r = 0;

    r |= add_time(json, "time", m->published.updated_at);
    r |= json_add_number(json, "latencySeconds", (double)m->published.update_latency_us / 1e6);
    r |= json_add_number(json, "count", (double)m->published.n_published);
    return r;
}

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

static int add_requests(cJSON *status, const struct mount *m)
{
    cJSON *json = cJSON_AddObjectToObject(status, "requests");
    struct request_sum sum = {.by_kind = cJSON_AddObjectToObject(json, "byKind")};

    session_visit_requests(m->session, add_request_kind, &sum);
    return sum.result | json_add_number(json, "total", (double)sum.total);
}

static int add_memory(cJSON *status)
{
    cJSON *json = cJSON_AddObjectToObject(status, "memory");
    int r = 0;

    r |= json_add_number(json, "secretBytes", (double)secmem_bytes());
    r |= json_add_number(json, "unlockedBytes", (double)secmem_unlocked_bytes());
    return r;
}

static int describe(const struct mount *m, cJSON *status)
{
    int r = 0;

    r |= json_add_text(status, "mountpoint", m->options->mountpoint);
    r |= json_add_text(status, "version", SECRETFS_VERSION);
    r |= json_add_number(status, "pid", (double)getpid());
    r |= add_time(status, "since", m->started_at);
    r |= add_objects(status, m);
    r |= add_volume(status, m);
    r |= add_last_update(status, m);
    r |= add_source(status, m);
    r |= add_requests(status, m);
    r |= add_memory(status);
    return r < 0 ? -ENOMEM : 0;
}

int mount_describe(const struct mount *mount, struct buf *document)
{
    _cleanup_(cJSON_Deletep) cJSON *status = cJSON_CreateObject();
    char *text;
    int r = status != NULL ? describe(mount, status) : -ENOMEM;

    if (r < 0)
        return r;
    text = cJSON_Print(status);
    if (text == NULL)
        return -ENOMEM;
    r = buf_add_text(document, text);
    cJSON_free(text);
    return r;
}
