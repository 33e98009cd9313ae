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
 * Each of them goes with uid, gid, fsGroup, type, tls, check, updates, onRevoked, report,
 * onUpdate, onUpdateContainer and onUpdateProcess.
 *
 * An empty attribute counts as absent, as templates produce them.
 */
#include "volume/attributes.h"

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "volume/spec_parse.h"

#define ROOT_NAME "volumeAttributes"

#define POD_VOLUME_KEY "podVolume"

/* One of them says what the volume shows. */
static const char *const object_keys[] = {"secretName", "configMap", "sources", "volume",
                                          POD_VOLUME_KEY};

static bool is_object_key(const char *key)
{
    for (size_t i = 0; i < ELEMENTS_OF(object_keys); i++)
        if (streq(key, object_keys[i]))
            return true;
    return false;
}

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

/* What a value that is not taken literally has to be, in a message that can be followed where each
 * value is a string. */
static const struct yaml_type {
    const char *key;
    cJSON_bool (*is_type)(const cJSON *value);
    const char *expected;
} yaml_types[] = {
    {"items", cJSON_IsArray, "a list in quotes, such as \"[{key: password, path: pgpass}]\""},
    {"sources", cJSON_IsArray, "a list in quotes, such as \"[{secret: {name: db}}]\""},
    {"volume", cJSON_IsObject,
     "an entry of a pod's volumes in quotes, such as \"secret: {secretName: db}\""},
    {"defaultMode", cJSON_IsNumber, "a number in quotes, such as \"0400\""},
    {"optional", cJSON_IsBool, "\"true\" or \"false\", in quotes"},
    {"uid", cJSON_IsNumber, "a number in quotes, such as \"1000\""},
    {"gid", cJSON_IsNumber, "a number in quotes, such as \"1000\""},
    {"fsGroup", cJSON_IsNumber, "a number in quotes, such as \"1000\""},
};

/* Return: NULL for one that is taken literally. */
static const struct yaml_type *find_yaml_type(const char *key)
{
    for (size_t i = 0; i < ELEMENTS_OF(yaml_types); i++)
        if (streq(yaml_types[i].key, key))
            return &yaml_types[i];
    return NULL;
}

static int add_yaml(const struct volume_attribute *attribute, const struct yaml_type *type,
                    cJSON *words, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *value = NULL;
    int r = yaml_parse_one(attribute->value, strlen(attribute->value), &value, e);

    if (r < 0)
        return error_prefix(e, r, ROOT_NAME ".%.64s", attribute->key);
    if (!cJSON_IsNull(value) && !type->is_type(value)) /* null: absent */
        return error_set(e, -EINVAL, ROOT_NAME ".%s: expected %s", type->key, type->expected);
    if (!cJSON_AddItemToObject(words, attribute->key, value))
        return no_memory(e);
    (void)TAKE(value);
    return 0;
}

static int add_attribute(const struct volume_attribute *attribute, const cJSON *pod_volume,
                         cJSON *words, struct error *e)
{
    const struct yaml_type *type = find_yaml_type(attribute->key);

    if (attribute->value[0] == '\0')
        return 0;
    if (json_member(words, attribute->key) != NULL)
        return error_set(e, -EINVAL, ROOT_NAME ".%.64s: duplicate key", attribute->key);
    if (streq(attribute->key, POD_VOLUME_KEY))
        return add_pod_volume(pod_volume, words, e);
    if (type != NULL)
        return add_yaml(attribute, type, words, e);
    return json_add_text(words, attribute->key, attribute->value) < 0 ? no_memory(e) : 0;
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
        if (is_object_key(attributes[i].key) && attributes[i].value[0] != '\0')
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
