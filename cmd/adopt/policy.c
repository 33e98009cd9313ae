/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "encoding/json.h"

#define WITH_SUFFIX_MAX 64 /* ADOPT_NAME_MAX, ADOPT_SUFFIX and a NUL */

/* Runtimes whose containers do not see mounts of the host, or not their updates. */
static const char *const runtime_classes[] = {"kata", "kata-qemu", "kata-clh", "kata-fc", "gvisor"};

static const char *const kinds[] = {"secret", "configMap", "downwardAPI"};
static const char *const sources[] = {
    "secret",        "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle",
    "podCertificate"};

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (streq(text, list[i]))
            return true;
    return false;
}

/* Whether a member is there at all; null counts as absent, as at the API server. */
static bool has(const cJSON *json, const char *key)
{
    const cJSON *member = json_member(json, key);

    return member != NULL && !cJSON_IsNull(member);
}

static bool has_one_of(const cJSON *json, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has(json, keys[i]))
            return true;
    return false;
}

static bool text_is(const cJSON *json, const char *key, const char *expected)
{
    const char *text = json_text(json, key);

    return text != NULL && streq(text, expected);
}

/* ---- pods */

static bool is_windows(const cJSON *spec)
{
    return text_is(json_member(spec, "os"), "name", "windows") ||
           text_is(json_member(spec, "nodeSelector"), "kubernetes.io/os", "windows");
}

static bool has_excluded_runtime(const cJSON *spec)
{
    const char *name = json_text(spec, "runtimeClassName");

    return name != NULL && is_one_of(name, runtime_classes, ELEMENTS_OF(runtime_classes));
}

enum adopt_pod adopt_pod_decide(const cJSON *pod)
{
    const cJSON *annotations = json_path(pod, "metadata", "annotations", NULL);
    const cJSON *spec = json_member(pod, "spec");

    if (text_is(annotations, ADOPT_LABEL, "disabled"))
        return ADOPT_POD_DISABLED;
    if (json_member(annotations, "kubernetes.io/config.mirror") != NULL)
        return ADOPT_POD_MIRROR;
    if (is_windows(spec))
        return ADOPT_POD_WINDOWS;
    return has_excluded_runtime(spec) ? ADOPT_POD_RUNTIME_CLASS : ADOPT_POD;
}

/* ---- names */

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int adopt_list_init(struct adopt_list *list, size_t max)
{
    *list = (struct adopt_list){.names = calloc(max + 1, sizeof(char *))};
    return list->names != NULL ? 0 : -ENOMEM;
}

void adopt_list_deinit(struct adopt_list *list)
{
    free(list->names);
}

void adopt_list_add(struct adopt_list *list, const char *name)
{
    list->names[list->n++] = name;
}

void adopt_list_sort(struct adopt_list *list)
{
    qsort(list->names, list->n, sizeof(*list->names), name_compare);
}

bool adopt_list_has(const struct adopt_list *list, const char *name)
{
    return bsearch(&name, list->names, list->n, sizeof(*list->names), name_compare) != NULL;
}

static void add_names(const cJSON *entries, struct adopt_list *list)
{
    const cJSON *entry;

    cJSON_ArrayForEach (entry, entries) {
        if (json_text(entry, "name") != NULL)
            adopt_list_add(list, json_text(entry, "name"));
    }
}

static size_t count_mounts(const cJSON *containers)
{
    const cJSON *container;
    size_t n = 0;

    cJSON_ArrayForEach (container, containers) {
        n += (size_t)cJSON_GetArraySize(json_member(container, "volumeMounts"));
    }
    return n;
}

static void add_mounts(const cJSON *containers, struct adopt_list *list)
{
    const cJSON *container;

    cJSON_ArrayForEach (container, containers) {
        add_names(json_member(container, "volumeMounts"), list);
    }
}

int adopt_names_init(struct adopt_names *names, const cJSON *spec)
{
    const cJSON *volumes = json_member(spec, "volumes");
    const cJSON *containers = json_member(spec, "containers");
    const cJSON *inits = json_member(spec, "initContainers");

    *names = (struct adopt_names){.volumes.n = 0};
    if (adopt_list_init(&names->volumes, (size_t)cJSON_GetArraySize(volumes)) < 0 ||
        adopt_list_init(&names->mounted, count_mounts(containers) + count_mounts(inits)) < 0)
        return -ENOMEM;
    add_names(volumes, &names->volumes);
    add_mounts(containers, &names->mounted);
    add_mounts(inits, &names->mounted);
    adopt_list_sort(&names->volumes);
    adopt_list_sort(&names->mounted);
    return 0;
}

void adopt_names_deinit(struct adopt_names *names)
{
    adopt_list_deinit(&names->volumes);
    adopt_list_deinit(&names->mounted);
}

/* ---- volumes */

/* Whether secretfs has every source of a projected volume. */
static bool has_sources(const cJSON *projected)
{
    const cJSON *list = json_member(projected, "sources"), *source;

    if (!cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach (source, list) {
        if (!has_one_of(source, sources, ELEMENTS_OF(sources)))
            return false;
    }
    return true;
}

bool adopt_volume_has_kind(const cJSON *volume)
{
    return has_one_of(volume, kinds, ELEMENTS_OF(kinds)) ||
           has_sources(json_member(volume, "projected"));
}

static bool is_name_taken(const struct adopt_names *names, const char *name)
{
    char taken[WITH_SUFFIX_MAX];

    snprintf(taken, sizeof(taken), "%s" ADOPT_SUFFIX, name);
    return adopt_list_has(&names->volumes, taken);
}

enum adopt_volume adopt_volume_decide(const struct adopt_names *names, const cJSON *volume,
                                      bool adopts_tokens)
{
    const char *name = json_text(volume, "name");

    assert(name != NULL);
    if (text_is(json_member(volume, "csi"), "driver", ADOPT_DRIVER))
        return ADOPT_VOLUME_SERVED;
    if (!adopt_volume_has_kind(volume))
        return has(volume, "projected") ? ADOPT_VOLUME_SOURCES : ADOPT_VOLUME_OTHER_KIND;
    if (!adopts_tokens && str_after(name, ADOPT_TOKENS_PREFIX) != NULL)
        return ADOPT_VOLUME_TOKEN;
    if (!adopt_list_has(&names->mounted, name))
        return ADOPT_VOLUME_NOT_MOUNTED;
    if (strlen(name) > ADOPT_NAME_MAX)
        return ADOPT_VOLUME_LONG_NAME;
    return is_name_taken(names, name) ? ADOPT_VOLUME_NAME_TAKEN : ADOPT_VOLUME;
}
