/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/manifests/server_check.h"

#include "encoding/json.h"

#define SERVICE_ACCOUNT_NAME "kubernetes.io/service-account.name"

static int require_annotation(const cJSON *json, const struct object *object, struct error *e)
{
    const char *text =
        json_text(json_path(json, "metadata", "annotations", NULL), SERVICE_ACCOUNT_NAME);

    if (text != NULL && text[0] != '\0')
        return 0;
    return error_set(e, -EINVAL, "type %s requires the annotation %s", object->type,
                     SERVICE_ACCOUNT_NAME);
}

static int require_key(const struct object *object, const char *key, bool may_be_empty,
                       struct error *e)
{
    const struct object_entry *entry = object_find(object, key);

    if (entry != NULL && (may_be_empty || entry->len > 0))
        return 0;
    return error_set(e, -EINVAL, "type %s requires the key %s", object->type, key);
}

static int require_json(const struct object *object, const char *key, struct error *e)
{
    const struct object_entry *entry = object_find(object, key);
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = require_key(object, key, true, e);

    if (r < 0)
        return r;
    r = json_parse((const char *)entry->bytes, entry->len, &json, NULL);
    if (r == -ENOMEM || cJSON_IsObject(json) || cJSON_IsNull(json))
        return 0;
    return error_set(e, -EINVAL, "type %s requires JSON in the key %s", object->type, key);
}

static int require_one_key(const struct object *object, const char *a, const char *b,
                           struct error *e)
{
    if (object_find(object, a) != NULL || object_find(object, b) != NULL)
        return 0;
    return error_set(e, -EINVAL, "type %s requires the key %s or %s", object->type, a, b);
}

/* Entries are sorted by key, data before binaryData. */
static int check_configmap(const struct object *object, struct error *e)
{
    for (size_t i = 1; i < object->n_entries; i++)
        if (streq(object->entries[i - 1].key, object->entries[i].key))
            return error_set(e, -EINVAL, "the key %.253s is in data and in binaryData",
                             object->entries[i].key);
    return 0;
}

int server_check(const cJSON *json, const struct object *object, struct error *e)
{
    if (object->key.kind == OBJECT_CONFIGMAP)
        return check_configmap(object, e);
    if (streq(object->type, "kubernetes.io/service-account-token"))
        return require_annotation(json, object, e);
    if (streq(object->type, "kubernetes.io/dockercfg"))
        return require_json(object, ".dockercfg", e);
    if (streq(object->type, "kubernetes.io/dockerconfigjson"))
        return require_json(object, ".dockerconfigjson", e);
    if (streq(object->type, "kubernetes.io/basic-auth"))
        return require_one_key(object, "username", "password", e);
    if (streq(object->type, "kubernetes.io/ssh-auth"))
        return require_key(object, "ssh-privatekey", false, e);
    return 0;
}
