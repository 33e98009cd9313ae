/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/workload.h"

#include <stdio.h>

#include "encoding/json.h"

#define PATH_MAX_LEN 4  /* of members, down to the pod */
#define KIND_SIZE    64 /* longer kinds have no pods */

static const struct workload {
    const char *group;
    const char *kind;
    const char *path[PATH_MAX_LEN + 1];
} workloads[] = {
    {"", "Pod", {NULL}},
    {"", "PodTemplate", {"template", NULL}},
    {"", "ReplicationController", {"spec", "template", NULL}},
    {"apps", "Deployment", {"spec", "template", NULL}},
    {"apps", "StatefulSet", {"spec", "template", NULL}},
    {"apps", "DaemonSet", {"spec", "template", NULL}},
    {"apps", "ReplicaSet", {"spec", "template", NULL}},
    {"batch", "Job", {"spec", "template", NULL}},
    {"batch", "CronJob", {"spec", "jobTemplate", "spec", "template", NULL}},
};

/* An object's kind and API version; entries of a typed list have those of the list. */
struct type {
    const char *version;
    const char *kind;
};

static struct type type_of(const cJSON *object, struct type list)
{
    const char *version = json_text(object, "apiVersion");
    const char *kind = json_text(object, "kind");

    return (struct type){.version = version != NULL ? version : list.version,
                         .kind = kind != NULL ? kind : list.kind};
}

static bool group_is(const char *version, const char *group)
{
    size_t len = strcspn(version, "/");

    return version[len] == '\0' ? *group == '\0'
                                : strlen(group) == len && memcmp(version, group, len) == 0;
}

static const struct workload *find_workload(struct type type)
{
    for (size_t i = 0; i < ELEMENTS_OF(workloads); i++)
        if (streq(type.kind, workloads[i].kind) && group_is(type.version, workloads[i].group))
            return &workloads[i];
    return NULL;
}

/* "List", "PodList", ... Return: whether it is one; @item: the kind of its entries, or "". */
static bool is_list(const char *kind, char item[static KIND_SIZE])
{
    size_t len = strlen(kind), suffix = strlen("List");

    if (len < suffix || len - suffix >= KIND_SIZE || !streq(kind + len - suffix, "List"))
        return false;
    snprintf(item, KIND_SIZE, "%.*s", (int)(len - suffix), kind);
    return true;
}

bool workload_is_known(const cJSON *document)
{
    struct type type = type_of(document, (struct type){"", ""});
    char item[KIND_SIZE];

    return find_workload(type) != NULL || is_list(type.kind, item);
}

static int walk(struct spot object, struct type type, workload_fn *found, void *userdata,
                struct error *e);

/* As deep as the document nests, which its parser bounds. */
static int walk_items(struct spot list, struct type entry_type, workload_fn *found, void *userdata,
                      struct error *e)
{
    struct spot items = spot_member(list, "items");
    int r = 0;

    for (struct spot_entry i = spot_first(items); i.at.json != NULL && r == 0; spot_next(&i))
        r = walk(i.at, entry_type, found, userdata, e);
    return r;
}

static int walk(struct spot object, struct type list, workload_fn *found, void *userdata,
                struct error *e)
{
    struct type type = type_of(object.json, list);
    const struct workload *w = find_workload(type);
    char item[KIND_SIZE];

    if (is_list(type.kind, item))
        return walk_items(object, (struct type){type.version, item}, found, userdata, e);
    if (w == NULL)
        return 0;
    for (const char *const *key = w->path; *key != NULL; key++)
        object = spot_member(object, *key);
    return object.json != NULL ? found(userdata, object, e) : 0;
}

int workload_each(struct spot document, workload_fn *found, void *userdata, struct error *e)
{
    return walk(document, (struct type){"", ""}, found, userdata, e);
}
