/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members that have the value they would have without being named are left out, and those that are
 * missing have it: a newer program adds members, and reads what an older one has written. Kinds are
 * names, as the numbers in the program may change.
 */
#include "volume/spec_json.h"

#include "volume/on_update.h"

static const char *const volume_kinds[] = {
    [VOLUME_SECRET] = "secret",
    [VOLUME_CONFIGMAP] = "configMap",
    [VOLUME_PROJECTED] = "projected",
    [VOLUME_DOWNWARD_API] = "downwardAPI",
};

static const char *const object_kinds[] = {
    [OBJECT_SECRET] = "secret",
    [OBJECT_CONFIGMAP] = "configMap",
    [OBJECT_DOWNWARD_API] = "downwardAPI",
    [OBJECT_SERVICE_ACCOUNT_TOKEN] = "serviceAccountToken",
    [OBJECT_CLUSTER_TRUST_BUNDLE] = "clusterTrustBundle",
    [OBJECT_POD_CERTIFICATE] = "podCertificate",
};

static const char *const report_names[] = {
    [VOLUME_REPORT_DEFAULT] = NULL,
    [VOLUME_REPORT_CONDITION] = "condition",
    [VOLUME_REPORT_NONE] = "none",
};

static_assert(VOLUME_MODE_UNSET == UINT32_MAX && VOLUME_ID_UNSET == UINT32_MAX, "one is not set");

/* ---- writing; 0 or -ENOMEM */

static int add_number(cJSON *json, const char *key, uint32_t number)
{
    return number != UINT32_MAX ? json_add_number(json, key, number) : 0;
}

static int add_flag(cJSON *json, const char *key, bool flag)
{
    return flag ? json_add_bool(json, key, true) : 0;
}

/* Return: the new object, of @array; NULL when out of memory. */
static cJSON *add_object(cJSON *array)
{
    cJSON *object = cJSON_CreateObject();

    if (object == NULL || !cJSON_AddItemToArray(array, object)) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static int add_item(cJSON *items, const struct volume_item *item)
{
    cJSON *json = add_object(items);
    int r = json != NULL ? 0 : -ENOMEM;

    r |= json_add_text(json, "key", item->key);
    r |= json_add_text(json, "path", item->path);
    r |= add_number(json, "mode", item->mode);
    r |= add_number(json, "uid", item->uid);
    return r | add_number(json, "gid", item->gid);
}

static int add_source(cJSON *sources, const struct volume_source *source)
{
    cJSON *json = add_object(sources), *items = cJSON_AddArrayToObject(json, "items");
    int r = items != NULL ? 0 : -ENOMEM;

    r |= json_add_text(json, "kind", object_kinds[source->kind]);
    r |= json_add_text(json, "name", source->name);
    r |= json_add_text(json, "detail", source->detail);
    r |= add_flag(json, "optional", source->is_optional);
    r |= json_add_text(json, "request", source->request);
    for (size_t i = 0; i < source->n_items && r == 0; i++)
        r = add_item(items, &source->items[i]);
    return r;
}

static int add_owners(cJSON *json, const struct volume_spec *spec)
{
    int r = add_number(json, "podUser", spec->pod_user);

    r |= add_number(json, "defaultUser", spec->default_user);
    r |= add_number(json, "uid", spec->uid);
    r |= add_number(json, "gid", spec->gid);
    return r | add_number(json, "fsGroup", spec->fs_group);
}

int volume_spec_to_json(const struct volume_spec *spec, cJSON **ret_json)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *sources = cJSON_AddArrayToObject(json, "sources");
    int r = sources != NULL ? 0 : -ENOMEM;

    r |= json_add_text(json, "kind", volume_kinds[spec->kind]);
    r |= json_add_text(json, "name", spec->name);
    r |= add_number(json, "mode", spec->default_mode);
    r |= add_flag(json, "ofPod", spec->is_of_pod);
    r |= add_owners(json, spec);
    r |= json_add_text(json, "type", spec->type);
    r |= add_flag(json, "tls", spec->holds_tls);
    r |= add_number(json, "checks", spec->checks);
    r |= json_add_text(json, "checkCommand", spec->check_command);
    r |= add_flag(json, "inPlace", spec->updates == VOLUME_UPDATES_IN_PLACE);
    r |= add_flag(json, "removeRevoked", spec->removes_revoked);
    r |= json_add_text(json, "report", report_names[spec->report]);
    r |= json_add_text(json, "onUpdate", volume_signal_name(spec->update_signal));
    r |= json_add_text(json, "onUpdateContainer", spec->update_container);
    r |= json_add_text(json, "onUpdateProcess", spec->update_process);
    for (size_t i = 0; i < spec->n_sources && r == 0; i++)
        r = add_source(sources, &spec->sources[i]);
    if (r == 0)
        *ret_json = TAKE(json);
    return r;
}

/* ---- reading; 0, -EINVAL, -E2BIG or -ENOMEM */

/* A missing member leaves *value as it is. */
static int read_number(const cJSON *json, const char *key, uint32_t *value)
{
    const cJSON *member = json_member(json, key);

    if (member == NULL)
        return 0;
    if (!cJSON_IsNumber(member) || !(member->valuedouble >= 0) ||
        !(member->valuedouble < UINT32_MAX))
        return -EINVAL;
    *value = (uint32_t)member->valuedouble;
    return 0;
}

/* A missing member leaves *text as it is. */
static int read_text(const cJSON *json, const char *key, const char **text)
{
    const cJSON *member = json_member(json, key);

    if (member == NULL)
        return 0;
    return cJSON_IsString(member) ? volume_text_set(text, member->valuestring) : -EINVAL;
}

/* Return: the index in @names; -EINVAL. */
static int read_kind(const cJSON *json, const char *const *names, size_t n)
{
    const char *text = json_text(json, "kind");

    for (size_t i = 0; text != NULL && i < n; i++)
        if (streq(text, names[i]))
            return (int)i;
    return -EINVAL;
}

static int read_item(const cJSON *json, struct volume_source *source)
{
    struct volume_item item = {.key = json_text(json, "key"),
                               .path = json_text(json, "path"),
                               .mode = VOLUME_MODE_UNSET,
                               .uid = VOLUME_ID_UNSET,
                               .gid = VOLUME_ID_UNSET};
    int r = item.key != NULL && item.path != NULL ? 0 : -EINVAL;

    if (r == 0)
        r = read_number(json, "mode", &item.mode);
    if (r == 0)
        r = read_number(json, "uid", &item.uid);
    if (r == 0)
        r = read_number(json, "gid", &item.gid);
    return r == 0 ? volume_source_add_item(source, &item) : r;
}

static int read_source(const cJSON *json, struct volume_spec *spec)
{
    int kind = read_kind(json, object_kinds, ELEMENTS_OF(object_kinds));
    const cJSON *items = json_member(json, "items"), *item;
    const char *name = json_text(json, "name");
    struct volume_source *source = NULL;
    int r;

    if (kind < 0 || name == NULL)
        return -EINVAL;
    r = volume_spec_add_source(spec, (enum object_kind)kind, name, &source);
    if (r < 0)
        return r;
    source->is_optional = json_is_true(json, "optional");
    r = read_text(json, "detail", &source->detail);
    if (r == 0)
        r = read_text(json, "request", &source->request);
    cJSON_ArrayForEach (item, items) {
        if (r == 0)
            r = read_item(item, source);
    }
    return r;
}

static int read_owners(const cJSON *json, struct volume_spec *spec)
{
    const struct {
        const char *key;
        uint32_t *value;
    } members[] = {
        {"mode", &spec->default_mode},
        {"podUser", &spec->pod_user},
        {"defaultUser", &spec->default_user},
        {"uid", &spec->uid},
        {"gid", &spec->gid},
        {"fsGroup", &spec->fs_group},
    };
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(members) && r == 0; i++)
        r = read_number(json, members[i].key, members[i].value);
    return r;
}

/* An unknown one counts as missing. */
static enum volume_report read_report(const cJSON *json)
{
    const char *text = json_text(json, "report");

    for (size_t i = 0; text != NULL && i < ELEMENTS_OF(report_names); i++)
        if (report_names[i] != NULL && streq(text, report_names[i]))
            return (enum volume_report)i;
    return VOLUME_REPORT_DEFAULT;
}

/* An unknown signal counts as missing. */
static int read_on_update(const cJSON *json, struct volume_spec *spec)
{
    const char *name = json_text(json, "onUpdate");
    int r = read_text(json, "onUpdateContainer", &spec->update_container);

    spec->update_signal = name != NULL ? volume_signal_number(name) : 0;
    return r == 0 ? read_text(json, "onUpdateProcess", &spec->update_process) : r;
}

static int read_spec(const cJSON *json, struct volume_spec *spec)
{
    const cJSON *source;
    int r = read_owners(json, spec);

    spec->is_of_pod = json_is_true(json, "ofPod");
    spec->holds_tls = json_is_true(json, "tls");
    spec->removes_revoked = json_is_true(json, "removeRevoked");
    r = r == 0 ? read_number(json, "checks", &spec->checks) : r;
    if (json_is_true(json, "inPlace"))
        spec->updates = VOLUME_UPDATES_IN_PLACE;
    spec->report = read_report(json);
    if (r == 0)
        r = read_text(json, "name", &spec->name);
    if (r == 0)
        r = read_text(json, "type", &spec->type);
    if (r == 0)
        r = read_text(json, "checkCommand", &spec->check_command);
    if (r == 0)
        r = read_on_update(json, spec);
    cJSON_ArrayForEach (source, json_member(json, "sources")) {
        if (r == 0)
            r = read_source(source, spec);
    }
    return r;
}

int volume_spec_from_json(const cJSON *json, struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int kind = read_kind(json, volume_kinds, ELEMENTS_OF(volume_kinds));
    int r = kind;

    if (r >= 0)
        r = volume_spec_new((enum volume_kind)kind, &spec);
    if (r == 0)
        r = read_spec(json, spec);
    if (r == 0)
        r = volume_spec_check_size(spec, e);
    else
        error_set_errno(e, r, "invalid spec of a volume");
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}
