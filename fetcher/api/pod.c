/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pod.h"

#include "base/clock.h"
#include "cache/object.h"
#include "encoding/json.h"

/* The volumes of our driver in a pod; names are borrowed from its JSON. */
struct volumes {
    struct {
        const char *name;
        const char *pod_volume; /* the volume of the pod that it stands for; NULL: none */
        bool mentions_pod;      /* its attributes may have a source that is made of the pod */
        bool has_secret;        /* a nodePublishSecretRef */
        bool has_sub_path;
    } list[POD_VOLUMES_MAX];
    size_t n;
};

/* What is kept of a pod's status; borrowed from its JSON. */
struct pod_status {
    struct {
        const char *name;
        const char *id;
    } containers[POD_CONTAINERS_MAX];
    size_t n;
    time_t oldest_start;
    struct pod_condition condition;
};

static const char *const container_kinds[] = {"containers", "initContainers",
                                              "ephemeralContainers"};

/* ---- reading */

const char *pod_uid_of(const cJSON *json)
{
    const char *uid = json_text(json_member(json, "metadata"), "uid");

    return uid != NULL && uid[0] != '\0' && strlen(uid) <= POD_UID_MAX ? uid : NULL;
}

/* Its containers do not start any more, so the kubelet publishes no volumes of it. */
static bool has_ended(const cJSON *json)
{
    const char *phase = json_text(json_member(json, "status"), "phase");

    return phase != NULL && (streq(phase, "Succeeded") || streq(phase, "Failed"));
}

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* The secret that a csi volume names for the node authorizer. Return: borrowed; NULL: none. */
static const char *publish_secret_of(const cJSON *volume)
{
    return json_text(json_path(volume, "csi", "nodePublishSecretRef", NULL), "name");
}

/* The volume that a csi volume stands for. Return: borrowed; NULL: none. */
static const char *pod_volume_of(const cJSON *volume)
{
    const cJSON *csi = json_member(volume, "csi");
    const char *name = json_text(json_member(csi, "volumeAttributes"), POD_VOLUME_ATTRIBUTE);

    return is_given(name) ? name : NULL;
}

/*
 * Sources that are made of the pod, or belong to its user: members of a projected source, the one
 * of fields is a volume, too.
 */
static const char *const pod_sources[] = {"clusterTrustBundle", "downwardAPI",
                                          "serviceAccountToken", "podCertificate"};

static bool text_mentions_pod(const char *text)
{
    for (size_t i = 0; i < ELEMENTS_OF(pod_sources); i++)
        if (strstr(text, pod_sources[i]) != NULL)
            return true;
    return false;
}

/* The attributes are YAML, which is parsed when the volume is published. */
static bool mentions_pod(const cJSON *volume)
{
    const cJSON *attribute;

    cJSON_ArrayForEach (attribute, json_path(volume, "csi", "volumeAttributes", NULL)) {
        if (cJSON_IsString(attribute) && text_mentions_pod(attribute->valuestring))
            return true;
    }
    return false;
}

static void find_volumes(const cJSON *spec, const char *driver, struct volumes *volumes)
{
    const cJSON *volume;

    cJSON_ArrayForEach (volume, json_member(spec, "volumes")) {
        const char *of = json_text(json_member(volume, "csi"), "driver");
        const char *name = json_text(volume, "name");

        if (of == NULL || !streq(of, driver) || name == NULL || !object_namespace_is_valid(name) ||
            volumes->n == POD_VOLUMES_MAX)
            continue;
        volumes->list[volumes->n].pod_volume = pod_volume_of(volume);
        volumes->list[volumes->n].has_secret = publish_secret_of(volume) != NULL;
        volumes->list[volumes->n].mentions_pod = mentions_pod(volume);
        volumes->list[volumes->n++].name = name;
    }
}

static void note_mount(const cJSON *mount, struct volumes *volumes)
{
    const char *name = json_text(mount, "name");

    if (name == NULL ||
        (!is_given(json_text(mount, "subPath")) && !is_given(json_text(mount, "subPathExpr"))))
        return;
    for (size_t i = 0; i < volumes->n; i++)
        if (streq(volumes->list[i].name, name))
            volumes->list[i].has_sub_path = true;
}

/* The API server refuses subPath in ephemeral containers; one that allows it is understood, too. */
static void note_mounts(const cJSON *spec, struct volumes *volumes)
{
    for (size_t i = 0; i < ELEMENTS_OF(container_kinds); i++) {
        const cJSON *container, *mount;

        cJSON_ArrayForEach (container, json_member(spec, container_kinds[i])) {
            cJSON_ArrayForEach (mount, json_member(container, "volumeMounts")) {
                note_mount(mount, volumes);
            }
        }
    }
}

/* ---- status */

static void note_start(const cJSON *container, struct pod_status *status)
{
    const char *text = json_text(json_path(container, "state", "running", NULL), "startedAt");
    struct timespec at;

    if (text == NULL || clock_parse_rfc3339(text, &at) < 0)
        return;
    if (status->oldest_start == 0 || at.tv_sec < status->oldest_start)
        status->oldest_start = at.tv_sec;
}

/* The id is "containerd://ID". */
static void note_container(const cJSON *container, struct pod_status *status)
{
    const char *name = json_text(container, "name"), *id = json_text(container, "containerID");
    const char *scheme = id != NULL ? strstr(id, "://") : NULL;

    note_start(container, status);
    if (!is_given(name) || scheme == NULL || status->n == POD_CONTAINERS_MAX)
        return;
    status->containers[status->n].name = name;
    status->containers[status->n++].id = scheme + strlen("://");
}

static const char *text_or_empty(const cJSON *json, const char *name)
{
    const char *text = json_text(json, name);

    return text != NULL ? text : "";
}

static struct pod_condition read_condition(const cJSON *status)
{
    const cJSON *condition;

    cJSON_ArrayForEach (condition, json_member(status, "conditions")) {
        if (streq(text_or_empty(condition, "type"), POD_CONDITION_TYPE))
            return (struct pod_condition){.status = text_or_empty(condition, "status"),
                                          .reason = text_or_empty(condition, "reason"),
                                          .message = text_or_empty(condition, "message"),
                                          .last_transition =
                                              text_or_empty(condition, "lastTransitionTime")};
    }
    return (struct pod_condition){"", "", "", ""};
}

static void read_status(const cJSON *json, struct pod_status *ret_status)
{
    static const char *const kinds[] = {"containerStatuses", "initContainerStatuses",
                                        "ephemeralContainerStatuses"};
    const cJSON *status = json_member(json, "status"), *container;

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++) {
        cJSON_ArrayForEach (container, json_member(status, kinds[i])) {
            note_container(container, ret_status);
        }
    }
    ret_status->condition = read_condition(status);
}

/* ---- details */

static bool is_kept(const struct volumes *volumes, const char *name)
{
    for (size_t i = 0; i < volumes->n; i++) {
        const char *pod_volume = volumes->list[i].pod_volume;

        if (pod_volume != NULL && streq(pod_volume, name))
            return true;
        if (volumes->list[i].has_secret && streq(volumes->list[i].name, name))
            return true;
    }
    return false;
}

static bool add_entries(const cJSON *spec, const struct volumes *volumes, cJSON *entries)
{
    const cJSON *entry;

    cJSON_ArrayForEach (entry, json_member(spec, "volumes")) {
        const char *name = json_text(entry, "name");

        if (name == NULL || !is_kept(volumes, name))
            continue;
        if (!cJSON_AddItemReferenceToArray(entries, (cJSON *)(uintptr_t)entry))
            return false;
    }
    return true;
}

static bool add_reference(cJSON *to, const char *name, const cJSON *from)
{
    const cJSON *member = json_member(from, name);

    return member == NULL || cJSON_AddItemReferenceToObject(to, name, (cJSON *)(uintptr_t)member);
}

static bool add_metadata(const cJSON *json, cJSON *details)
{
    const cJSON *from = json_member(json, "metadata");
    cJSON *metadata = cJSON_AddObjectToObject(details, "metadata");

    return metadata != NULL && add_reference(metadata, "labels", from) &&
           add_reference(metadata, "annotations", from);
}

static bool add_container(const cJSON *container, cJSON *kept)
{
    cJSON *one = cJSON_CreateObject();

    if (!cJSON_AddItemToArray(kept, one)) {
        cJSON_Delete(one);
        return false;
    }
    return add_reference(one, "name", container) && add_reference(one, "resources", container) &&
           add_reference(one, "securityContext", container);
}

static bool add_containers(const cJSON *spec, cJSON *kept)
{
    for (size_t i = 0; i < ELEMENTS_OF(container_kinds); i++) {
        cJSON *list = cJSON_AddArrayToObject(kept, container_kinds[i]);
        const cJSON *container;

        if (list == NULL)
            return false;
        cJSON_ArrayForEach (container, json_member(spec, container_kinds[i])) {
            if (!add_container(container, list))
                return false;
        }
    }
    return true;
}

static bool has_pod_source(const cJSON *json)
{
    for (size_t i = 0; i < ELEMENTS_OF(pod_sources); i++)
        if (json_member(json, pod_sources[i]) != NULL)
            return true;
    return false;
}

static bool have_pod_source(const cJSON *entries)
{
    const cJSON *entry, *source;

    cJSON_ArrayForEach (entry, entries) {
        if (has_pod_source(entry))
            return true;
        cJSON_ArrayForEach (source, json_path(entry, "projected", "sources", NULL)) {
            if (has_pod_source(source))
                return true;
        }
    }
    return false;
}

static bool needs_pod(const struct volumes *volumes, const cJSON *entries)
{
    for (size_t i = 0; i < volumes->n; i++)
        if (volumes->list[i].mentions_pod)
            return true;
    return have_pod_source(entries);
}

/* @ret_text: the caller's, "" if nothing has to be kept. Return: 0 or -ENOMEM. */
static int print_details(const cJSON *json, const struct volumes *volumes, char **ret_text)
{
    const cJSON *spec = json_member(json, "spec");
    _cleanup_(cJSON_Deletep) cJSON *details = cJSON_CreateObject();
    cJSON *kept = cJSON_AddObjectToObject(details, "spec");
    cJSON *entries = cJSON_AddArrayToObject(kept, "volumes");
    bool needs;
    char *text;

    if (entries == NULL || !add_entries(spec, volumes, entries))
        return -ENOMEM;
    needs = needs_pod(volumes, entries);
    if (needs && (!add_metadata(json, details) || !add_containers(spec, kept) ||
                  !add_reference(kept, "securityContext", spec)))
        return -ENOMEM;
    text = needs || cJSON_GetArraySize(entries) > 0 ? cJSON_PrintUnformatted(details) : strdup("");
    if (text == NULL)
        return -ENOMEM;
    *ret_text = text;
    return 0;
}

/* ---- keeping */

/* Copy the texts of a pod, or count their bytes if @at is NULL. */
struct texts {
    char *at;
    size_t len;
};

static const char *put_text(struct texts *texts, const char *text)
{
    size_t len = strlen(text) + 1;
    const char *copy = texts->at;

    texts->len += len;
    if (texts->at == NULL)
        return NULL;
    memcpy(texts->at, text, len);
    texts->at += len;
    return copy;
}

static const char *put_sub_paths(struct texts *texts, const struct volumes *volumes)
{
    const char *first = texts->at;

    for (size_t i = 0; i < volumes->n; i++)
        if (volumes->list[i].has_sub_path)
            put_text(texts, volumes->list[i].name);
    put_text(texts, "");
    return first;
}

/* @labels: of the pod's metadata, or NULL */
static const char *put_labels(struct texts *texts, const cJSON *labels)
{
    const char *first = texts->at;
    const cJSON *label;

    cJSON_ArrayForEach (label, labels) {
        if (!cJSON_IsString(label) || label->string == NULL || label->string[0] == '\0')
            continue;
        put_text(texts, label->string);
        put_text(texts, label->valuestring);
    }
    put_text(texts, "");
    return first;
}

static const char *put_containers(struct texts *texts, const struct pod_status *status)
{
    const char *first = texts->at;

    for (size_t i = 0; i < status->n; i++) {
        put_text(texts, status->containers[i].name);
        put_text(texts, status->containers[i].id);
    }
    put_text(texts, "");
    return first;
}

/* What a pod is made of. */
struct parts {
    const struct pod *names; /* namespace, name, uid and resourceVersion are copied */
    const struct volumes *volumes;
    const struct pod_status *status;
    const char *details;
    const cJSON *labels;
};

static void put_texts(struct pod *pod, const struct parts *parts, struct texts *texts)
{
    const struct pod_condition *condition = &parts->status->condition;

    pod->namespace = put_text(texts, parts->names->namespace);
    pod->name = put_text(texts, parts->names->name);
    pod->uid = put_text(texts, parts->names->uid);
    pod->resource_version = put_text(texts, parts->names->resource_version);
    pod->details = put_text(texts, parts->details);
    pod->condition.status = put_text(texts, condition->status);
    pod->condition.reason = put_text(texts, condition->reason);
    pod->condition.message = put_text(texts, condition->message);
    pod->condition.last_transition = put_text(texts, condition->last_transition);
    pod->labels = put_labels(texts, parts->labels);
    pod->sub_paths = put_sub_paths(texts, parts->volumes);
    pod->containers = put_containers(texts, parts->status);
}

static struct pod *pod_new(const struct parts *parts)
{
    struct texts texts = {.at = NULL};
    struct pod measured, *pod;

    put_texts(&measured, parts, &texts);
    pod = calloc(1, sizeof(*pod) + texts.len);
    if (pod == NULL)
        return NULL;
    pod->size = sizeof(*pod) + texts.len;
    list_init(&pod->link);
    texts.at = pod->text;
    put_texts(pod, parts, &texts);
    pod->oldest_start = parts->status->oldest_start;
    return pod;
}

int pod_decode(const cJSON *json, const char *driver, struct pod **ret_pod)
{
    const cJSON *metadata = json_member(json, "metadata"), *spec = json_member(json, "spec");
    const char *namespace = json_text(metadata, "namespace"), *name = json_text(metadata, "name");
    const char *kind = json_text(json, "kind"), *uid = pod_uid_of(json);
    const char *version = json_text(metadata, "resourceVersion");
    const struct pod names = {.namespace = namespace,
                              .name = name,
                              .uid = uid,
                              .resource_version = version != NULL ? version : ""};
    _cleanup_(freep) char *details = NULL;
    struct volumes volumes = {.n = 0};
    struct pod_status status = {.n = 0};
    struct parts parts = {.names = &names, .volumes = &volumes, .status = &status};
    struct pod *pod;

    if ((kind != NULL && !streq(kind, "Pod")) || uid == NULL || namespace == NULL || name == NULL ||
        !object_namespace_is_valid(namespace) || !object_name_is_valid(name))
        return -EINVAL;
    find_volumes(spec, driver, &volumes);
    if (volumes.n == 0 || has_ended(json))
        return POD_WITHOUT_VOLUMES;
    note_mounts(spec, &volumes);
    if (print_details(json, &volumes, &details) < 0)
        return -ENOMEM;
    read_status(json, &status);
    parts.details = details;
    parts.labels = json_member(metadata, "labels");
    pod = pod_new(&parts);
    if (pod == NULL)
        return -ENOMEM;
    pod->is_deleted = json_text(metadata, "deletionTimestamp") != NULL;
    pod->has_user_namespace = cJSON_IsFalse(json_member(spec, "hostUsers"));
    *ret_pod = pod;
    return 0;
}

struct pod *pod_free(struct pod *pod)
{
    if (pod == NULL)
        return NULL;
    list_remove(&pod->link);
    free(pod);
    return NULL;
}

/* ---- queries */

bool pod_is(const struct pod *pod, const char *namespace, const char *name, const char *uid)
{
    return streq(pod->uid, uid) && streq(pod->name, name) && streq(pod->namespace, namespace);
}

int pod_details(const struct pod *pod, cJSON **ret_json)
{
    cJSON *json = pod->details[0] != '\0' ? cJSON_Parse(pod->details) : cJSON_CreateObject();

    /* not json_parse(): a NUL in a text is JSON_NUL already */
    if (json == NULL)
        return -ENOMEM;
    *ret_json = json;
    return 0;
}

const cJSON *pod_volume_entry(const cJSON *details, const char *name)
{
    const cJSON *entry;

    cJSON_ArrayForEach (entry, json_path(details, "spec", "volumes", NULL)) {
        const char *found = json_text(entry, "name");

        if (found != NULL && streq(found, name))
            return entry;
    }
    return NULL;
}

const char *pod_publish_secret(const cJSON *details, const char *name)
{
    const cJSON *entry = pod_volume_entry(details, name);

    return entry != NULL ? publish_secret_of(entry) : NULL;
}

/* What a container, or the pod for it, sets. Return: NULL: nothing. */
static const cJSON *run_as_user(const cJSON *spec, const cJSON *container)
{
    const cJSON *own = json_path(container, "securityContext", "runAsUser", NULL);

    return cJSON_IsNumber(own) ? own : json_path(spec, "securityContext", "runAsUser", NULL);
}

/* Take over what a container runs as. Return: false if it is not the same as @shared's. */
static bool share_user(const cJSON *user, double *shared)
{
    if (!cJSON_IsNumber(user) || (*shared >= 0 && user->valuedouble != *shared))
        return false;
    *shared = user->valuedouble;
    return true;
}

bool pod_shared_user(const cJSON *details, uid_t *ret_user)
{
    const cJSON *spec = json_member(details, "spec"), *container;
    double shared = -1;

    for (size_t i = 0; i < ELEMENTS_OF(container_kinds); i++) {
        cJSON_ArrayForEach (container, json_member(spec, container_kinds[i])) {
            if (!share_user(run_as_user(spec, container), &shared))
                return false;
        }
    }
    if (!(shared >= 0 && shared < UINT32_MAX))
        return false;
    *ret_user = (uid_t)shared;
    return true;
}

const char *pod_container_name(const struct pod *pod, const char *id)
{
    const char *name = pod->containers;

    while (*name != '\0') {
        const char *own_id = name + strlen(name) + 1;

        if (streq(own_id, id))
            return name;
        name = own_id + strlen(own_id) + 1;
    }
    return NULL;
}

bool pod_has_sub_path(const struct pod *pod, const char *volume)
{
    for (const char *at = pod->sub_paths; *at != '\0'; at += strlen(at) + 1)
        if (streq(at, volume))
            return true;
    return false;
}
