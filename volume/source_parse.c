/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function for each kind of source. All but Secrets and ConfigMaps show what is made of the
 * volume's pod, or objects that are chosen by more than a name: such a source has a detail, or a
 * request from which volume_spec_bind_pod() makes one.
 *
 * What the API server checks when it accepts a pod is checked here, with the path of the field.
 */
#include "volume/source_parse.h"

#include <limits.h>
#include <stdio.h>

#include "base/words.h"
#include "volume/label_selector.h"
#include "volume/pod_fields.h"
#include "volume/spec_words.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the volume");
}

int volume_mode_read(const cJSON *json, const struct field *field, const char *name, mode_t *mode,
                     struct error *e)
{
    const cJSON *member = field_member(json, name);
    double n = cJSON_IsNumber(member) ? member->valuedouble : 0;

    if (!(n >= 0 && n <= VOLUME_MODE_MAX) || n != (double)(unsigned)n)
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "invalid mode: " VOLUME_MODE_HINT));
    return field_read_number(json, field, name, VOLUME_MODE_MAX, mode, e);
}

/* ---- items */

/* @field: of the item */
static int add_item(struct volume_source *source, const struct field *field,
                    const struct volume_item *item, struct error *e)
{
    int r = volume_path_check(item->path, e);

    if (r < 0)
        return field_error(&FIELD(field, "path"), e, r);
    r = volume_item_add(source, item, e);
    return r < 0 ? field_error(field, e, r) : 0;
}

static int parse_item(const cJSON *json, const struct field *field, struct volume_source *source,
                      struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(NULL);
    int r = field_check_members(json, field, "key, path, mode, uid, gid, user", e);

    if (r == 0)
        r = field_read_required_text(json, field, "key", &item.key, e);
    if (r == 0)
        r = field_read_required_text(json, field, "path", &item.path, e);
    if (r == 0)
        r = volume_mode_read(json, field, "mode", &item.mode, e);
    if (r == 0)
        r = field_read_number(json, field, "uid", UINT_MAX - 1, &item.uid, e);
    if (r == 0)
        r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e); /* Y23 */
    if (r == 0)
        r = field_read_number(json, field, "gid", UINT_MAX - 1, &item.gid, e);
    return r < 0 ? r : add_item(source, field, &item, e);
}

static int parse_items(const cJSON *json, const struct field *parent, struct volume_source *source,
                       struct error *e)
{
    const struct field field = FIELD(parent, "items");
    const cJSON *items = field_member(json, "items"), *item;
    size_t n = 0;
    int r = field_check_list(items, &field, e);

    if (r < 0)
        return r;
    cJSON_ArrayForEach (item, items) {
        r = parse_item(item, &FIELD_AT(&field, n++), source, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Secrets and ConfigMaps */

/* Add a source. @field: of the source. *ret_source is borrowed until the next one */
static int add_source(struct volume_spec *spec, const struct field *field, enum object_kind kind,
                      const char *name, struct volume_source **ret_source, struct error *e)
{
    int r = volume_spec_add_source(spec, kind, name, ret_source);

    if (r == -E2BIG)
        return field_error(field, e, error_set(e, r, "more than %u sources", VOLUME_SOURCES_MAX));
    return r < 0 ? no_memory(e) : 0;
}

int volume_source_parse(const cJSON *json, const struct field *field, struct volume_spec *spec,
                        const struct volume_source_words *words, struct error *e)
{
    struct volume_source *source = NULL;
    const char *name = NULL;
    int r = field_check_members(json, field, words->known, e);

    if (r == 0)
        r = field_read_required_text(json, field, words->name_member, &name, e);
    if (r < 0)
        return r;
    if (!object_name_is_valid(name))
        return field_error(&FIELD(field, words->name_member), e,
                           error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a %s", name,
                                     object_kind_word(words->kind)));
    r = add_source(spec, field, words->kind, name, &source, e);
    if (r == 0)
        r = field_read_flag(json, field, "optional", &source->is_optional, e);
    return r < 0 ? r : parse_items(json, field, source, e);
}

/* ---- fields of the pod */

static int parse_field_ref(const cJSON *json, const struct field *field, const char **ret_key,
                           struct error *e)
{
    const char *version = NULL;
    int r = field_check_members(json, field, "apiVersion, fieldPath", e);

    if (r == 0)
        r = field_read_text(json, field, "apiVersion", &version, e);
    if (r == 0 && version != NULL && version[0] != '\0' && !streq(version, "v1"))
        r = field_error(&FIELD(field, "apiVersion"), e,
                        error_set(e, -EINVAL, "unsupported version \"%.32s\", use v1", version));
    if (r == 0)
        r = field_read_required_text(json, field, "fieldPath", ret_key, e);
    if (r < 0)
        return r;
    r = pod_fields_check_path(*ret_key, e);
    return r < 0 ? field_error(&FIELD(field, "fieldPath"), e, r) : 0;
}

/* A quantity, or in YAML a number. @buf: for the text of a number */
static int read_divisor(const cJSON *json, const struct field *field, char buf[static 32],
                        const char **ret_text, struct error *e)
{
    const cJSON *member = field_member(json, "divisor");

    *ret_text = "";
    if (cJSON_IsNumber(member)) {
        snprintf(buf, 32, "%.15g", member->valuedouble);
        *ret_text = buf;
    } else if (member != NULL) {
        return field_read_text(json, field, "divisor", ret_text, e);
    }
    return 0;
}

/* @ret_key: the caller's */
static int parse_resource_ref(const cJSON *json, const struct field *field, char **ret_key,
                              struct error *e)
{
    const char *container = NULL, *resource = NULL, *divisor = "";
    char number[32];
    int r = field_check_members(json, field, "containerName, resource, divisor", e);

    if (r == 0)
        r = field_read_required_text(json, field, "containerName", &container, e);
    if (r == 0)
        r = field_read_required_text(json, field, "resource", &resource, e);
    if (r == 0)
        r = read_divisor(json, field, number, &divisor, e);
    if (r < 0)
        return r;
    r = pod_fields_resource_key(resource, container, divisor, ret_key, e);
    return r < 0 ? field_error(field, e, r) : 0;
}

/* @item: gets its key. @ret_owned: what it points to, if it is the caller's */
static int parse_reference(const cJSON *json, const struct field *field, struct volume_item *item,
                           char **ret_owned, struct error *e)
{
    const cJSON *found =
        field_find_only(json, field, "path, mode, user", "fieldRef, resourceFieldRef", e);
    int r;

    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "fieldRef"))
        return parse_field_ref(found, &FIELD(field, "fieldRef"), &item->key, e);
    r = parse_resource_ref(found, &FIELD(field, "resourceFieldRef"), ret_owned, e);
    item->key = r == 0 ? *ret_owned : NULL;
    return r;
}

static int parse_downward_item(const cJSON *json, const struct field *field,
                               struct volume_source *source, struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(NULL);
    _cleanup_(freep) char *owned = NULL;
    int r = field_check_members(json, field, "path, fieldRef, resourceFieldRef, mode, user", e);

    if (r == 0)
        r = field_read_required_text(json, field, "path", &item.path, e);
    if (r == 0)
        r = volume_mode_read(json, field, "mode", &item.mode, e);
    if (r == 0)
        r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e);
    if (r == 0)
        r = parse_reference(json, field, &item, &owned, e);
    return r < 0 ? r : add_item(source, field, &item, e);
}

int volume_source_parse_downward(const cJSON *json, const struct field *parent,
                                 struct volume_spec *spec, struct error *e)
{
    const struct field field = FIELD(parent, "items");
    const cJSON *items = field_member(json, "items"), *item;
    struct volume_source *source = NULL;
    size_t n = 0;
    int r = field_check_list(items, &field, e);

    if (r < 0)
        return r;
    r = add_source(spec, parent, OBJECT_DOWNWARD_API, "", &source, e);
    if (r < 0)
        return r;
    cJSON_ArrayForEach (item, items) {
        r = parse_downward_item(item, &FIELD_AT(&field, n++), source, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_downward_source(const cJSON *json, const struct field *field,
                                 struct volume_spec *spec, struct error *e)
{
    int r = field_check_members(json, field, "items", e);

    return r < 0 ? r : volume_source_parse_downward(json, field, spec, e);
}

/* ---- sources of one file */

static int read_one_path(const cJSON *json, const struct field *field, struct volume_item *item,
                         struct error *e)
{
    int r = field_read_required_text(json, field, "path", &item->path, e);

    if (r == 0)
        r = field_read_number(json, field, "user", UINT_MAX - 1, &item->uid, e);
    if (r < 0)
        return r;
    r = volume_path_check(item->path, e);
    return r < 0 ? field_error(&FIELD(field, "path"), e, r) : 0;
}

/* ---- tokens */

/* Source: Y8. */
#define TOKEN_DEFAULT_S 3600u
#define TOKEN_LEAST_S   600u

static int read_expiration(const cJSON *json, const struct field *field, unsigned *ret_seconds,
                           struct error *e)
{
    unsigned seconds = TOKEN_DEFAULT_S;
    int r = field_read_number(json, field, "expirationSeconds", UINT_MAX, &seconds, e);

    if (r == 0 && seconds < TOKEN_LEAST_S)
        r = field_error(&FIELD(field, "expirationSeconds"), e,
                        error_set(e, -EINVAL, "expected at least %u seconds", TOKEN_LEAST_S));
    *ret_seconds = seconds;
    return r;
}

static int read_audience(const cJSON *json, const struct field *field, const char **ret_audience,
                         struct error *e)
{
    int r = field_read_text(json, field, "audience", ret_audience, e);

    if (r == 0 && *ret_audience == NULL)
        *ret_audience = "";
    return r;
}

/* @request: copied. @ret_source: borrowed until the next source */
static int add_request_source(struct volume_spec *spec, const struct field *field,
                              enum object_kind kind, const char *request,
                              struct volume_source **ret_source, struct error *e)
{
    int r = add_source(spec, field, kind, "", ret_source, e);

    if (r < 0)
        return r;
    return volume_text_set(&(*ret_source)->request, request) < 0 ? no_memory(e) : 0;
}

static int add_token_source(struct volume_spec *spec, const struct field *field,
                            const char *audience, unsigned seconds, const struct volume_item *item,
                            struct error *e)
{
    _cleanup_(freep) char *request = NULL;
    struct volume_source *source = NULL;
    int r;

    if (asprintf(&request, VOLUME_TOKEN_REQUEST, seconds, audience) < 0)
        return no_memory(e);
    r = add_request_source(spec, field, OBJECT_SERVICE_ACCOUNT_TOKEN, request, &source, e);
    return r < 0 ? r : volume_item_add(source, item, e);
}

static int parse_token_source(const cJSON *json, const struct field *field,
                              struct volume_spec *spec, struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(VOLUME_TOKEN_KEY);
    const char *audience = NULL;
    unsigned seconds = 0;
    int r = field_check_members(json, field, "audience, expirationSeconds, path, user", e);

    if (r == 0)
        r = read_audience(json, field, &audience, e);
    if (r == 0)
        r = read_expiration(json, field, &seconds, e);
    if (r == 0)
        r = read_one_path(json, field, &item, e);
    return r < 0 ? r : add_token_source(spec, field, audience, seconds, &item, e);
}

/* ---- trust bundles */

/*
 * Of signers and of bundles. The API server has finer rules; these characters need no escape in a
 * field selector. Source: ValidateSignerName() of the API server.
 */
#define SIGNER_NAME_MAX   571
#define SIGNER_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/"

static bool has_signer_characters(const char *text)
{
    return strlen(text) <= SIGNER_NAME_MAX && text[strspn(text, SIGNER_CHARACTERS)] == '\0';
}

/* A domain and a path. */
static bool is_signer_name(const char *text)
{
    const char *slash = strchr(text, '/');

    return has_signer_characters(text) && slash != NULL && slash != text && slash[1] != '\0';
}

/* A name, behind its signer if it has one, with colons for slashes (Y17). */
static bool is_bundle_name(const char *text)
{
    const char *last = strrchr(text, ':');

    return has_signer_characters(text) && object_name_is_valid(last != NULL ? last + 1 : text);
}

/* @ret_detail: the caller's, for volume_source.detail */
static int read_selector(const cJSON *json, const struct field *field, char **ret_detail,
                         struct error *e)
{
    _cleanup_(freep) char *text = NULL;
    int r = label_selector_text(field_member(json, "labelSelector"), &FIELD(field, "labelSelector"),
                                &text, e);

    if (r == 0 && asprintf(ret_detail, "%s%s", VOLUME_BUNDLE_LABELS, text) < 0)
        r = no_memory(e);
    return r;
}

/* @ret_name: the bundle's or the signer's. @ret_detail: NULL for a bundle; else the caller's */
static int read_bundle(const cJSON *json, const struct field *field, const char **ret_name,
                       char **ret_detail, struct error *e)
{
    const cJSON *found =
        field_find_only(json, field, "path, optional, labelSelector, user", "name, signerName", e);
    bool is_signer;
    int r;

    if (found == NULL)
        return -EINVAL;
    is_signer = streq(found->string, "signerName");
    r = field_read_required_text(json, field, found->string, ret_name, e);
    if (r < 0)
        return r;
    if (is_signer ? !is_signer_name(*ret_name) : !is_bundle_name(*ret_name))
        return field_error(&FIELD(field, found->string), e,
                           error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a %s",
                                     *ret_name, is_signer ? "signer" : "clustertrustbundle"));
    if (is_signer)
        return read_selector(json, field, ret_detail, e);
    if (field_member(json, "labelSelector") != NULL)
        return field_error(&FIELD(field, "labelSelector"), e,
                           error_set(e, -EINVAL, "allowed with signerName only"));
    return 0;
}

static int add_bundle_source(struct volume_spec *spec, const struct field *field, const char *name,
                             const char *detail, const struct volume_item *item,
                             struct volume_source **ret_source, struct error *e)
{
    int r = add_source(spec, field, OBJECT_CLUSTER_TRUST_BUNDLE, name, ret_source, e);

    if (r == 0 && volume_text_set(&(*ret_source)->detail, detail) < 0)
        r = no_memory(e);
    return r < 0 ? r : volume_item_add(*ret_source, item, e);
}

static int parse_bundle_source(const cJSON *json, const struct field *field,
                               struct volume_spec *spec, struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(VOLUME_BUNDLE_KEY);
    _cleanup_(freep) char *detail = NULL;
    struct volume_source *source = NULL;
    const char *name = NULL;
    int r = field_check_members(json, field,
                                "name, signerName, labelSelector, optional, path, user", e);

    if (r == 0)
        r = read_bundle(json, field, &name, &detail, e);
    if (r == 0)
        r = read_one_path(json, field, &item, e);
    if (r == 0)
        r = add_bundle_source(spec, field, name, detail, &item, &source, e);
    return r < 0 ? r : field_read_flag(json, field, "optional", &source->is_optional, e);
}

/* ---- pod certificates */

/* Source: Y18. */
#define CERTIFICATE_DEFAULT_S 86400u
#define CERTIFICATE_LEAST_S   3600u
#define CERTIFICATE_MOST_S    7862400u

static int read_key_type(const cJSON *json, const struct field *field, const char **ret_type,
                         struct error *e)
{
    static const char *const types[] = {"RSA3072",   "RSA4096", "ECDSAP256", "ECDSAP384",
                                        "ECDSAP521", "ED25519", NULL};
    int r = field_read_required_text(json, field, "keyType", ret_type, e);

    if (r < 0)
        return r;
    r = words_find(types, "key type", *ret_type, e);
    return r < 0 ? field_error(&FIELD(field, "keyType"), e, r) : 0;
}

static int read_signer(const cJSON *json, const struct field *field, const char **ret_signer,
                       struct error *e)
{
    int r = field_read_required_text(json, field, "signerName", ret_signer, e);

    if (r < 0 || is_signer_name(*ret_signer))
        return r;
    return field_error(
        &FIELD(field, "signerName"), e,
        error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a signer", *ret_signer));
}

static int read_max_expiration(const cJSON *json, const struct field *field, unsigned *ret_seconds,
                               struct error *e)
{
    unsigned seconds = CERTIFICATE_DEFAULT_S;
    int r = field_read_number(json, field, "maxExpirationSeconds", UINT_MAX, &seconds, e);

    if (r == 0 && (seconds < CERTIFICATE_LEAST_S || seconds > CERTIFICATE_MOST_S))
        r = field_error(&FIELD(field, "maxExpirationSeconds"), e,
                        error_set(e, -EINVAL, "expected %u to %u seconds", CERTIFICATE_LEAST_S,
                                  CERTIFICATE_MOST_S));
    *ret_seconds = seconds;
    return r;
}

/* @ret_text: a JSON object in one line; the caller's, for cJSON_free() */
static int read_annotations(const cJSON *json, const struct field *parent, char **ret_text,
                            struct error *e)
{
    const struct field field = FIELD(parent, "userAnnotations");
    const cJSON *annotations = field_member(json, "userAnnotations"), *value;
    _cleanup_(cJSON_Deletep) cJSON *none = cJSON_CreateObject();

    if (annotations != NULL && !cJSON_IsObject(annotations))
        return field_error(&field, e, error_set(e, -EINVAL, "expected a mapping"));
    cJSON_ArrayForEach (value, annotations) {
        if (!cJSON_IsString(value))
            return field_error(&FIELD(&field, value->string), e,
                               error_set(e, -EINVAL, "expected a string"));
    }
    *ret_text = cJSON_PrintUnformatted(annotations != NULL ? annotations : none);
    return *ret_text == NULL ? no_memory(e) : 0;
}

/* @ret_request: the caller's, see VOLUME_CERTIFICATE_REQUEST */
static int read_certificate_request(const cJSON *json, const struct field *field,
                                    char **ret_request, struct error *e)
{
    const char *signer = NULL, *type = NULL;
    char *annotations = NULL;
    unsigned seconds = 0;
    int r = read_signer(json, field, &signer, e);

    if (r == 0)
        r = read_key_type(json, field, &type, e);
    if (r == 0)
        r = read_max_expiration(json, field, &seconds, e);
    if (r == 0)
        r = read_annotations(json, field, &annotations, e);
    if (r == 0 &&
        asprintf(ret_request, VOLUME_CERTIFICATE_REQUEST, signer, type, seconds, annotations) < 0)
        r = no_memory(e);
    cJSON_free(annotations);
    return r;
}

static int read_certificate_path(const cJSON *json, const struct field *field, const char *name,
                                 const char *key, struct volume_source *source, struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(key);
    int r = field_read_text(json, field, name, &item.path, e);

    if (r < 0 || item.path == NULL || item.path[0] == '\0')
        return r;
    r = volume_path_check(item.path, e);
    if (r < 0)
        return field_error(&FIELD(field, name), e, r);
    r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e);
    return r < 0 ? r : volume_item_add(source, &item, e);
}

/* Source: Y19. */
static int read_certificate_paths(const cJSON *json, const struct field *field,
                                  struct volume_source *source, struct error *e)
{
    static const struct {
        const char *name;
        const char *key;
    } paths[] = {{"credentialBundlePath", VOLUME_CERTIFICATE_BUNDLE},
                 {"keyPath", VOLUME_CERTIFICATE_KEY},
                 {"certificateChainPath", VOLUME_CERTIFICATE_CHAIN}};

    for (size_t i = 0; i < ELEMENTS_OF(paths); i++) {
        int r = read_certificate_path(json, field, paths[i].name, paths[i].key, source, e);

        if (r < 0)
            return r;
    }
    if (source->n_items > 0)
        return 0;
    return field_error(
        field, e,
        error_set(e, -EINVAL, "expected credentialBundlePath, keyPath or certificateChainPath"));
}

static int parse_certificate_source(const cJSON *json, const struct field *field,
                                    struct volume_spec *spec, struct error *e)
{
    _cleanup_(freep) char *request = NULL;
    struct volume_source *source = NULL;
    int r = field_check_members(json, field,
                                "signerName, keyType, maxExpirationSeconds, credentialBundlePath, "
                                "keyPath, certificateChainPath, userAnnotations, user",
                                e);

    if (r == 0)
        r = read_certificate_request(json, field, &request, e);
    if (r == 0)
        r = add_request_source(spec, field, OBJECT_POD_CERTIFICATE, request, &source, e);
    return r != 0 ? r : read_certificate_paths(json, field, source, e);
}

/* ---- any source of a projected volume */

static const char *source_kinds(const struct volume_spec *spec)
{
    return spec->is_of_pod ? "secret, configMap, clusterTrustBundle, downwardAPI, "
                             "serviceAccountToken, podCertificate"
                           : "secret, configMap, clusterTrustBundle";
}

int volume_source_parse_projected(const cJSON *json, const struct field *field,
                                  struct volume_spec *spec, struct error *e)
{
    static const struct volume_source_words secret = {OBJECT_SECRET, "name",
                                                      "name, items, optional"};
    static const struct volume_source_words configmap = {OBJECT_CONFIGMAP, "name",
                                                         "name, items, optional"};
    const cJSON *found;

    if (!cJSON_IsObject(json))
        return field_error(field, e, error_set(e, -EINVAL, "expected a mapping"));
    found = field_find_only(json, field, "", source_kinds(spec), e);
    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "secret"))
        return volume_source_parse(found, &FIELD(field, "secret"), spec, &secret, e);
    if (streq(found->string, "configMap"))
        return volume_source_parse(found, &FIELD(field, "configMap"), spec, &configmap, e);
    if (streq(found->string, "clusterTrustBundle"))
        return parse_bundle_source(found, &FIELD(field, "clusterTrustBundle"), spec, e);
    if (streq(found->string, "serviceAccountToken") && spec->is_of_pod)
        return parse_token_source(found, &FIELD(field, "serviceAccountToken"), spec, e);
    if (streq(found->string, "podCertificate") && spec->is_of_pod)
        return parse_certificate_source(found, &FIELD(field, "podCertificate"), spec, e);
    if (streq(found->string, "downwardAPI") && spec->is_of_pod)
        return parse_downward_source(found, &FIELD(field, "downwardAPI"), spec, e);
    return field_error(
        &FIELD(field, found->string), e,
        error_set(e, -EINVAL, "unsupported source, expected one of: %s", source_kinds(spec)));
}
