/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CSI volume in a pod has one field for its driver: volumeAttributes, a mapping of text to text.
 * Where a number, a list or a whole volume is expected, the text is YAML (or JSON, which is YAML):
 *
 *     volumeAttributes:
 *       secretName: db
 *       defaultMode: "0400"
 *       items: "[{key: password, path: pgpass}]"
 *
 * Others are names and words and taken literally: a Secret can be called "123" or "true". Then
 * volume_spec_parse_flat() reads the mapping, as spec_parse.c reads a volume's entry, and errors
 * name the attribute: "secret/db: volumeAttributes.items[0].path: ...".
 *
 * | attributes                                           | make                         |
 * |------------------------------------------------------|------------------------------|
 * | secretName, configMap; items, defaultMode, optional  | a secret or configMap volume |
 * | sources; defaultMode                                 | a projected volume           |
 * | volume                                               | the volume of that entry     |
 * | podVolume                                            | the volume of the pod's own  |
 * |                                                      | entry of that name           |
 * | none of these                                        | a secret volume of a default |
 * |                                                      | name                         |
 *
 * Each of them goes with uid, gid, fsGroup, type, tls, check, updates and onRevoked.
 *
 * An empty attribute counts as absent, as templates produce them.
 */
#include "volume/attributes.h"

#include "encoding/json.h"
#include "encoding/yaml.h"

#define ROOT_NAME "volumeAttributes"

#define POD_VOLUME_KEY "podVolume"

static const char *const yaml_keys[] = {"items",    "sources", "volume", "defaultMode",
                                        "optional", "uid",     "gid",    "fsGroup"};

/* One of them says what the volume shows. */
static const char *const object_keys[] = {"secretName", "configMap", "sources", "volume",
                                          POD_VOLUME_KEY};

static bool is_one_of(const char *key, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (streq(key, keys[i]))
            return true;
    return false;
}
#define IS_ONE_OF(key, keys) is_one_of(key, keys, ELEMENTS_OF(keys))

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the " ROOT_NAME);
}

/* In the place of its name. */
static int add_pod_volume(const cJSON *pod_volume, cJSON *words, struct error *e)
{
    if (pod_volume == NULL)
        return error_set(e, -EINVAL, ROOT_NAME "." POD_VOLUME_KEY ": only in a volume of a pod");
    if (!cJSON_AddItemReferenceToObject(words, POD_VOLUME_KEY, (cJSON *)(uintptr_t)pod_volume))
        return no_memory(e);
    return 0;
}

/*
 * As field_read_number() and field_read_flag() do, with a message that can be followed where each
 * value is a string.
 */
static int check_type(const char *key, const cJSON *value, struct error *e)
{
    static const char *const numbers[] = {"defaultMode", "uid", "gid", "fsGroup"};

    if (cJSON_IsNull(value))
        return 0; /* absent */
    if (IS_ONE_OF(key, numbers) && !cJSON_IsNumber(value))
        return error_set(e, -EINVAL, ROOT_NAME ".%s: expected a number in quotes, such as \"%s\"",
                         key, streq(key, "defaultMode") ? "0400" : "1000");
    if (streq(key, "optional") && !cJSON_IsBool(value))
        return error_set(e, -EINVAL, ROOT_NAME ".%s: expected \"true\" or \"false\", in quotes",
                         key);
    return 0;
}

static int add_attribute(const struct volume_attribute *attribute, const cJSON *pod_volume,
                         cJSON *words, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *value = NULL;
    int r;

    if (attribute->value[0] == '\0')
        return 0;
    if (json_member(words, attribute->key) != NULL)
        return error_set(e, -EINVAL, ROOT_NAME ".%.64s: duplicate key", attribute->key);
    if (streq(attribute->key, POD_VOLUME_KEY))
        return add_pod_volume(pod_volume, words, e);
    if (!IS_ONE_OF(attribute->key, yaml_keys))
        return json_add_text(words, attribute->key, attribute->value) < 0 ? no_memory(e) : 0;
    r = yaml_parse_one(attribute->value, strlen(attribute->value), &value, e);
    if (r < 0)
        return error_prefix(e, r, ROOT_NAME ".%.64s", attribute->key);
    r = check_type(attribute->key, value, e);
    if (r < 0)
        return r;
    if (!cJSON_AddItemToObject(words, attribute->key, value))
        return no_memory(e);
    (void)TAKE(value);
    return 0;
}

static int attributes_to_json(const struct volume_attribute *attributes, size_t n,
                              const struct volume_attributes_context *context, cJSON **ret_json,
                              struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *words = cJSON_CreateObject();

    if (words == NULL)
        return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        int r = add_attribute(&attributes[i], context->pod_volume, words, e);

        if (r < 0)
            return r;
    }
    if (!volume_attributes_name_object(attributes, n) &&
        json_add_text(words, "secretName", context->default_secret) < 0)
        return no_memory(e);
    *ret_json = TAKE(words);
    return 0;
}

/* Put the object in front of an error, if its name is valid. */
static int prefix_object(const cJSON *words, struct error *e, int r)
{
    const char *secret = json_text(words, "secretName"), *configmap = json_text(words, "configMap");
    const char *name = secret != NULL ? secret : configmap;

    if (name == NULL || !object_name_is_valid(name))
        return r;
    return error_prefix(e, r, "%s/%s",
                        object_kind_word(secret != NULL ? OBJECT_SECRET : OBJECT_CONFIGMAP), name);
}

const char *volume_attributes_pod_volume(const struct volume_attribute *attributes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (streq(attributes[i].key, POD_VOLUME_KEY) && attributes[i].value[0] != '\0')
            return attributes[i].value;
    return NULL;
}

bool volume_attributes_name_object(const struct volume_attribute *attributes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (IS_ONE_OF(attributes[i].key, object_keys) && attributes[i].value[0] != '\0')
            return true;
    return false;
}

int volume_attributes_parse(const struct volume_attribute *attributes, size_t n,
                            const struct volume_attributes_context *context,
                            struct volume_spec **ret_spec, struct error *e)
{
    static const struct volume_attributes_context none;
    _cleanup_(cJSON_Deletep) cJSON *words = NULL;
    int r;

    if (n > VOLUME_ATTRIBUTES_MAX)
        return error_set(e, -E2BIG, ROOT_NAME ": more than %u attributes", VOLUME_ATTRIBUTES_MAX);
    r = attributes_to_json(attributes, n, context != NULL ? context : &none, &words, e);
    if (r < 0)
        return r;
    r = volume_spec_parse_flat(words, ROOT_NAME, ret_spec, e);
    return r < 0 ? prefix_object(words, e, r) : 0;
}
