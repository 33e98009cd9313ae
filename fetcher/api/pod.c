/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pod.h"

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

/* Return: @at moved behind the copy. */
static char *put_text(char *at, const char *text, const char **ret_text)
{
    *ret_text = at;
    return stpcpy(at, text) + 1;
}

/* @names: namespace, name, uid and resourceVersion are copied */
static struct pod *pod_new(const struct pod *names, const struct volumes *volumes,
                           const char *details)
{
    size_t len = strlen(names->namespace) + strlen(names->name) + strlen(names->uid) +
                 strlen(names->resource_version) + strlen(details) + 6;
    const char *text;
    struct pod *pod;
    char *at;

    for (size_t i = 0; i < volumes->n; i++)
        len += volumes->list[i].has_sub_path ? strlen(volumes->list[i].name) + 1 : 0;
    pod = calloc(1, sizeof(*pod) + len);
    if (pod == NULL)
        return NULL;
    pod->size = sizeof(*pod) + len;
    list_init(&pod->link);
    at = put_text(pod->text, names->namespace, &pod->namespace);
    at = put_text(at, names->name, &pod->name);
    at = put_text(at, names->uid, &pod->uid);
    at = put_text(at, names->resource_version, &pod->resource_version);
    at = put_text(at, details, &pod->details);
    pod->sub_paths = at;
    for (size_t i = 0; i < volumes->n; i++)
        if (volumes->list[i].has_sub_path)
            at = put_text(at, volumes->list[i].name, &text);
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
    pod = pod_new(&names, &volumes, details);
    if (pod == NULL)
        return -ENOMEM;
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

bool pod_has_sub_path(const struct pod *pod, const char *volume)
{
    for (const char *at = pod->sub_paths; *at != '\0'; at += strlen(at) + 1)
        if (streq(at, volume))
            return true;
    return false;
}
