/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document is one JSON object for the process, then one for each volume. A node with thousands
 * of volumes sends VOLUMES_PER_TURN in a turn of the loop, and the next ones when these are sent:
 * volumes have increasing numbers, and the cursor is the number of the last one. So a slow client
 * costs one buffer, and an update waits for a millisecond of status at most.
 */
#include "node/status.h"

#include "monitor/status_document.h"
#include "monitor/status_socket.h"
#include "node/static_reconciler.h"

#define VOLUMES_PER_TURN 64 /* that takes about a millisecond */

#define DEBUG_WATCHES_MAX 1000 /* in the process's part; then other sources have no watchStates */

#define FILE_SYSTEMS_MAX 2 /* standard and live */

struct node_status {
    struct node_status_context context;
    struct kept_socket keeps[FILE_SYSTEMS_MAX];
    struct status_socket *sockets[FILE_SYSTEMS_MAX];
    size_t n_sockets;
};

/* ---- volumes */

struct volumes_part {
    uint64_t cursor; /* number of the last volume that was added */
    size_t n;
    bool is_debug;
    struct buf *text;
    int result;
};

/* Return: the length of a key and its value, with their NULs. */
static size_t pair_len(const char *key)
{
    size_t len = strlen(key) + 1;

    return len + strlen(key + len) + 1;
}

/* Of the pod, for selectors. A pod with more is one without: its author may write 256 KiB. */
static int add_labels(cJSON *json, const char *labels)
{
    cJSON *object = NULL;
    size_t len = 0;
    int r = 0;

    while (labels[len] != '\0')
        len += pair_len(labels + len);
    if (len > NODE_STATUS_LABELS_MAX)
        return 0;
    object = cJSON_AddObjectToObject(json, "labels");
    for (const char *key = labels; *key != '\0' && r == 0; key += pair_len(key))
        r = json_add_text(object, key, key + strlen(key) + 1);
    return object != NULL ? r : -ENOMEM;
}

/* Consumers are known by their containers' ids. */
static int name_containers(cJSON *json, const struct pod *pod)
{
    cJSON *volume = cJSON_GetObjectItemCaseSensitive(json, "volume");
    cJSON *consumers = cJSON_GetObjectItemCaseSensitive(volume, "consumers");
    cJSON *consumer;
    int r = 0;

    cJSON_ArrayForEach (consumer, cJSON_GetObjectItemCaseSensitive(consumers, "list")) {
        const char *id = json_text(consumer, "container");

        if (id != NULL)
            r |= json_add_text(consumer, "containerName", pod_container_name(pod, id));
    }
    return r;
}

static int add_pod(cJSON *json, const struct node_volume *volume)
{
    const struct node_pods_volume which = {
        .namespace = volume->namespace, .pod = volume->pod, .pod_uid = volume->pod_uid};
    const struct node_pods *pods = volume->context->known_pods;
    const struct pod *pod = NULL;

    if (pods != NULL && which.pod != NULL && which.pod_uid != NULL)
        pod = node_pods_find(pods, &which);
    if (pod == NULL)
        return 0;
    return add_labels(json, pod->labels) | name_containers(json, pod);
}

cJSON *node_status_volume(const struct node_volume *volume, bool is_debug)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    int r = status_document_volume(&volume->published, volume->target, NULL, volume->identity->name,
                                   json);

    r |= json_add_text(json, "static", static_reconciler_name(volume->id));
    r |= json_add_text(json, "updateError", volume->notice.error.owned);
    r |= json_add_text(json, "fileSystem",
                       volume->fs != NODE_FS_UNDECIDED ? node_fs_name(volume->fs) : NULL);
    r |= add_pod(json, volume);
    if (is_debug)
        r |= status_document_debug_volume(&volume->published, json);
    return r == 0 ? TAKE(json) : NULL;
}

static bool add_volume(void *userdata, struct node_volume *volume)
{
    struct volumes_part *part = userdata;

    assert(volume->number > 0); /* the cursor of the process */
    if (volume->number <= part->cursor)
        return true;
    if (part->n++ == VOLUMES_PER_TURN) {
        part->result = STATUS_MORE;
        return false;
    }
    part->cursor = volume->number;
    part->result = status_document_print(node_status_volume(volume, part->is_debug), part->text);
    return part->result == 0;
}

/* ---- the process */

struct source_list {
    cJSON *list;
    bool is_debug;
    int n_watches; /* in watchStates so far */
    int result;
};

static bool add_source(void *userdata, const struct identity *identity)
{
    struct source_list *sources = userdata;
    cJSON *json;

    if (identity->source == NULL)
        return true;
    json = cJSON_CreateObject();
    sources->result |= status_document_source(identity->source, identity->name, json);
    if (sources->is_debug && sources->n_watches < DEBUG_WATCHES_MAX) {
        sources->result |= status_document_debug_source(identity->source, json);
        sources->n_watches += cJSON_GetArraySize(json_member(json, "watchStates"));
    }
    if (!cJSON_AddItemToArray(sources->list, json)) {
        cJSON_Delete(json);
        sources->result = -ENOMEM;
    }
    return sources->result == 0;
}

static int add_pods(cJSON *json, const struct node_pods *pods)
{
    const char *problem = node_pods_problem(pods);
    cJSON *described = cJSON_AddObjectToObject(json, "pods");
    int r = json_add_bool(described, "readable", problem[0] == '\0');

    r |= json_add_number(described, "known", (double)node_pods_count(pods));
    r |= json_add_text(described, "error", problem[0] != '\0' ? problem : NULL);
    return r;
}

/* The options that `secretfs doctor` checks the node with. */
static int add_options(cJSON *json, const struct node_options *o)
{
    int r = 0;

    r |= json_add_text(json, "driver", o->driver_name);
    r |= json_add_text(json, "node", o->node_id);
    r |= json_add_text(json, "runDirectory", o->run_dir);
    r |= json_add_text(json, "kubeletRoot", o->kubelet_root);
    r |= json_add_text(json, "endpoint", o->endpoint);
    r |= json_add_text(json, "registrationPath",
                       o->registration_path != NULL ? o->registration_path : "none");
    r |= json_add_text(json, "rights", node_rights_name(o->rights));
    r |= json_add_text(json, "kubeconfig", o->place.kubeconfig);
    r |= json_add_text(json, "context", o->place.context);
    r |= json_add_text(json, "audit", o->audit);
    return r | json_add_text(json, "manifests", o->place.manifests);
}

static int add_handovers(cJSON *json, const struct node_file_systems *all)
{
    int r = 0;

    for (enum node_fs fs = NODE_FS_STANDARD; fs <= NODE_FS_LIVE; fs++)
        if (node_file_systems_session(all, fs) != NULL)
            r |= status_document_handover(node_fs_name(fs), node_file_systems_handover(all, fs),
                                          json);
    return r;
}

cJSON *node_status_process(const struct node_status *status, bool is_debug)
{
    const struct node_status_context *c = &status->context;
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    struct source_list sources = {.list = cJSON_AddArrayToObject(json, "sources"),
                                  .is_debug = is_debug};
    const char *error = csi_service_registration_error(c->csi);
    struct request_counts counts = {0};
    int r;

    node_file_systems_count_requests(c->file_systems, &counts);
    r = status_document_process("node", c->started_at, &counts, json);
    r |= add_options(json, c->options);
    r |= json_add_bool(json, "registered", csi_service_is_registered(c->csi));
    r |= json_add_text(json, "registrationError", error[0] != '\0' ? error : NULL);
    r |= add_pods(json, c->pods);
    r |= add_handovers(json, c->file_systems);
    identities_visit(c->identities, add_source, &sources);
    return (r | sources.result) == 0 ? TAKE(json) : NULL;
}

/* A status_write_fn. */
static int write_part(void *userdata, bool is_debug, uint64_t *cursor, struct buf *text)
{
    const struct node_status *status = userdata;
    struct volumes_part part = {.cursor = *cursor, .is_debug = is_debug, .text = text};
    int r = *cursor == 0 ? status_document_print(node_status_process(status, is_debug), text) : 0;

    if (r < 0)
        return r;
    node_volumes_visit(status->context.volumes, add_volume, &part);
    *cursor = part.cursor;
    return part.result;
}

/* ---- the object */

int node_status_new(const struct node_status_context *context, struct node_status **ret_status)
{
    struct node_status *status = calloc(1, sizeof(*status));

    if (status == NULL)
        return -ENOMEM;
    status->context = *context;
    *ret_status = status;
    return 0;
}

struct node_status *node_status_free(struct node_status *status)
{
    if (status == NULL)
        return NULL;
    for (size_t i = 0; i < status->n_sockets; i++)
        status_socket_free(status->sockets[i]);
    free(status);
    return NULL;
}

void node_status_serve(struct node_status *status, enum node_fs fs, const struct session *session)
{
    struct kept_socket *keep = &status->keeps[status->n_sockets];
    struct error e = ERROR_INIT;

    assert(status->n_sockets < FILE_SYSTEMS_MAX);
    *keep =
        kept_sockets_get(status->context.sockets, fs == NODE_FS_LIVE ? "status-live" : "status");
    if (status_socket_new(status->context.event, session_device(session), keep, write_part, status,
                          &status->sockets[status->n_sockets], &e) == 0)
        status->n_sockets++;
    else
        log_warn("cannot open the status socket; `secretfs status` will not work", "reason",
                 e.text);
}
