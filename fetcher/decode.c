/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member that is null counts as absent, and a null value as an empty one, as in Go's decoder.
 * Unknown members of what an API server sends are ignored: a newer API may have more of them. In
 * manifests they are errors, as with `kubectl apply`: one is a misspelling (stringdata), or says
 * that the values are not what they seem (sops).
 *
 * Only manifests have stringData: the API server merges it into data when an object is written, and
 * never returns it.
 */
#include "fetcher/decode.h"

#include <strings.h>

#include "cache/annotations.h"
#include "encoding/field.h"
#include "encoding/json.h"

/* The members with values; a later one overrides an earlier one. */
static const struct values_member {
    const char *name;
    enum object_kind kind;
    enum object_encoding encoding;
    bool is_binary;
} values_members[] = {
    {"data", OBJECT_SECRET, OBJECT_BASE64, false},
    {"stringData", OBJECT_SECRET, OBJECT_TEXT, false},
    {"data", OBJECT_CONFIGMAP, OBJECT_TEXT, false},
    {"binaryData", OBJECT_CONFIGMAP, OBJECT_BASE64, true},
};

/* Return: the member, or NULL if it is absent or null. */
static const cJSON *member_unless_null(const cJSON *json, const char *name)
{
    const cJSON *member = json_member(json, name);

    return cJSON_IsNull(member) ? NULL : member;
}

/* A member that is a string if it is there at all. *ret_text is borrowed, or @otherwise. */
static int optional_text(const cJSON *json, const char *name, const char *otherwise,
                         const char **ret_text, struct error *e)
{
    const cJSON *member = member_unless_null(json, name);

    if (member != NULL && !cJSON_IsString(member))
        return error_set(e, -EINVAL, "\"%s\" has to be a string: put it into quotes", name);
    if (member != NULL && json_text_has_nul(member->valuestring))
        return error_set(e, -EINVAL, "\"%s\" contains a NUL character", name);
    *ret_text = member != NULL ? member->valuestring : otherwise;
    return 0;
}

static const enum object_kind all_kinds[] = {OBJECT_SECRET, OBJECT_CONFIGMAP};

static bool kind_from_name(const char *name, enum object_kind *ret_kind)
{
    for (size_t i = 0; i < ELEMENTS_OF(all_kinds); i++) {
        if (streq(name, object_kind_name(all_kinds[i]))) {
            *ret_kind = all_kinds[i];
            return true;
        }
    }
    return false;
}

/* Return: 0; DECODE_OTHER_KIND, also for a document without a kind that is needed. */
static int decode_kind(const cJSON *json, const struct decode_expect *expect,
                       enum object_kind *ret_kind)
{
    const char *api_version = json_text(json, "apiVersion"), *name = json_text(json, "kind");
    enum object_kind kind;

    if (expect->kind != NULL) {
        api_version = api_version != NULL ? api_version : "v1";
        name = name != NULL ? name : object_kind_name(*expect->kind);
    }
    if (api_version == NULL || name == NULL || !streq(api_version, "v1") ||
        !kind_from_name(name, &kind) || (expect->kind != NULL && *expect->kind != kind))
        return DECODE_OTHER_KIND;
    *ret_kind = kind;
    return 0;
}

/*
 * Whether a document of another kind was meant to be a Secret or ConfigMap: the case of the kind is
 * wrong, or apiVersion is missing or another version of Kubernetes' core group. @e: what to write
 */
static bool is_meant_otherwise(const char *api_version, const char *name, struct error *e)
{
    const char *kind = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(all_kinds) && name != NULL; i++)
        if (strcasecmp(name, object_kind_name(all_kinds[i])) == 0)
            kind = object_kind_name(all_kinds[i]);
    if (kind == NULL || (api_version != NULL && strchr(api_version, '/') != NULL))
        return false;
    error_set(e, -EINVAL, "the document is %.64s %.64s; write apiVersion: v1 and kind: %s",
              api_version != NULL ? api_version : "(no apiVersion)", name, kind);
    return true;
}

static int decode_names(const cJSON *metadata, const struct decode_expect *expect,
                        struct object_key *key, struct error *e)
{
    int r = optional_text(metadata, "name", "", &key->name, e);

    if (r == 0)
        r = optional_text(metadata, "namespace", "", &key->namespace, e);
    if (r != 0)
        return error_prefix(e, r, "metadata");
    if (key->namespace[0] == '\0' && expect->default_namespace != NULL)
        key->namespace = expect->default_namespace;
    if (key->name[0] == '\0')
        return error_set(e, -EINVAL, "metadata.name is missing");
    if (!object_name_is_valid(key->name))
        return error_set(e, -EINVAL,
                         "metadata.name \"%.64s\" is invalid: use at most 253 of a-z 0-9 - and ., "
                         "beginning and ending with a letter or digit",
                         key->name);
    if (key->namespace[0] == '\0')
        return error_set(e, -EINVAL, "metadata.namespace is missing");
    if (!object_namespace_is_valid(key->namespace))
        return error_set(e, -EINVAL,
                         "metadata.namespace \"%.64s\" is invalid: use at most 63 of a-z 0-9 and "
                         "-, beginning and ending with a letter or digit",
                         key->namespace);
    return 0;
}

int decode_key(const cJSON *json, const struct decode_expect *expect, struct object_key *ret_key,
               struct error *e)
{
    struct object_key key = {.namespace = "", .name = ""};
    int r = decode_kind(json, expect, &key.kind);

    if (r == DECODE_OTHER_KIND && expect->is_strict &&
        is_meant_otherwise(json_text(json, "apiVersion"), json_text(json, "kind"), e))
        return -EINVAL;
    if (r == 0)
        r = decode_names(json_member(json, "metadata"), expect, &key, e);
    if (r == 0)
        *ret_key = key;
    return r;
}

static int wrong_kind(const cJSON *json, const struct decode_expect *expect, struct error *e)
{
    const char *api_version = json_text(json, "apiVersion"), *kind = json_text(json, "kind");

    return error_set(
        e, -EINVAL, "the document is %.64s %.64s, expected v1 %s",
        api_version != NULL ? api_version : "(no apiVersion)", kind != NULL ? kind : "(no kind)",
        expect->kind != NULL ? object_kind_name(*expect->kind) : "Secret or ConfigMap");
}

/* The fields that Kubernetes 1.34 has. */
#define OBJECT_FIELDS "apiVersion, kind, metadata, "
#define METADATA_FIELDS                                                                            \
    "name, generateName, namespace, selfLink, uid, resourceVersion, generation, "                  \
    "creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, labels, annotations, "      \
    "ownerReferences, finalizers, managedFields"

static int check_fields(const cJSON *json, enum object_kind kind, struct error *e)
{
    static const char *const known[] = {
        [OBJECT_SECRET] = OBJECT_FIELDS "data, stringData, type, immutable",
        [OBJECT_CONFIGMAP] = OBJECT_FIELDS "data, binaryData, immutable",
    };
    const struct field root = FIELD(NULL, "");
    const cJSON *metadata = member_unless_null(json, "metadata");
    int r = field_check_members(json, &root, known[kind], e);

    if (r < 0 || metadata == NULL)
        return r;
    return field_check_members(metadata, &FIELD(&root, "metadata"), METADATA_FIELDS, e);
}

/* All of an object except its values. */
static int decode_like(const cJSON *json, const struct decode_expect *expect,
                       struct object *ret_like, struct error *e)
{
    const cJSON *metadata = json_member(json, "metadata");
    const cJSON *immutable = member_unless_null(json, "immutable");
    struct object like = {.uid = "", .is_immutable = cJSON_IsTrue(immutable)};
    int r = decode_key(json, expect, &like.key, e);

    if (r == DECODE_OTHER_KIND)
        return wrong_kind(json, expect, e);
    if (r == 0 && expect->is_strict)
        r = check_fields(json, like.key.kind, e);
    if (r == 0)
        r = optional_text(metadata, "uid", "", &like.uid, e);
    if (r == 0)
        r = optional_text(metadata, "resourceVersion", "", &like.resource_version, e);
    if (r == 0)
        annotations_read_staging(json_member(metadata, "annotations"), &like.staging);
    if (r == 0 && immutable != NULL && !cJSON_IsBool(immutable))
        r = error_set(e, -EINVAL, "\"immutable\" has to be true or false");
    if (r == 0 && like.key.kind == OBJECT_SECRET)
        r = optional_text(json, "type", "Opaque", &like.type, e);
    if (r != 0)
        return r;
    if (expect->resource_version != NULL)
        like.resource_version = expect->resource_version;
    *ret_like = like;
    return 0;
}

static int decode_value(const cJSON *value, const struct values_member *member,
                        struct object_input *ret_input, struct error *e)
{
    const char *text = cJSON_IsString(value) ? value->valuestring : "";

    if (!cJSON_IsString(value) && !cJSON_IsNull(value))
        return error_set(e, -EINVAL, "the value of key \"%.64s\" in %s is %s, not a string: %s",
                         value->string, member->name,
                         cJSON_IsNumber(value) ? "a number"
                         : cJSON_IsBool(value) ? "true or false"
                                               : "a list or a mapping",
                         member->encoding == OBJECT_BASE64 ? "give it in base64"
                                                           : "put it into quotes");
    *ret_input = (struct object_input){.key = value->string,
                                       .text = text,
                                       .len = strlen(text),
                                       .encoding = member->encoding,
                                       .is_binary = member->is_binary};
    return 0;
}

/* Append the values of one member to @inputs, which has room for them. */
static int decode_values(const cJSON *json, const struct values_member *member,
                         struct object_input *inputs, size_t *n, struct error *e)
{
    const cJSON *values = member_unless_null(json, member->name), *value;

    if (values != NULL && !cJSON_IsObject(values))
        return error_set(e, -EINVAL, "\"%s\" has to be a mapping of keys to values", member->name);
    cJSON_ArrayForEach (value, values) {
        int r = decode_value(value, member, &inputs[*n], e);

        if (r < 0)
            return r;
        ++*n;
    }
    return 0;
}

static size_t count_values(const cJSON *json)
{
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTS_OF(values_members); i++) {
        const cJSON *values = json_member(json, values_members[i].name), *value;

        cJSON_ArrayForEach (value, values)
            n++;
    }
    return n;
}

int decode_object(const cJSON *json, const struct decode_expect *expect, struct object **ret_object,
                  struct error *e)
{
    _cleanup_(freep) struct object_input *inputs = NULL;
    struct object like = {.uid = ""};
    size_t n = 0, n_max = count_values(json);
    int r = decode_like(json, expect, &like, e);

    if (r != 0)
        return r;
    inputs = calloc(n_max + 1, sizeof(*inputs));
    if (inputs == NULL)
        return error_set_errno(e, -ENOMEM, "cannot keep its values");
    for (size_t i = 0; i < ELEMENTS_OF(values_members); i++) {
        if (values_members[i].kind != like.key.kind)
            continue;
        r = decode_values(json, &values_members[i], inputs, &n, e);
        if (r < 0)
            return r;
    }
    assert(n <= n_max);
    r = object_new(&like, inputs, n, ret_object, e);
    return r == -ENOMEM ? error_set_errno(e, r, "cannot keep its values") : r;
}
