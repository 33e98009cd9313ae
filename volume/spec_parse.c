/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of a pod's volumes, a flat mapping of attributes and words of a command line all become
 * the same spec. What the API server checks when it accepts a pod, and what the kubelet checks when
 * it writes files, is checked here at once, so that an error is reported before a mount, with the
 * path of the field (encoding/field.h).
 *
 * type and tls select Secrets; in the entry of a ConfigMap they are an error, as they would have no
 * effect.
 */
#include "volume/spec_parse.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "base/command.h"
#include "base/words.h"
#include "encoding/field.h"
#include "encoding/yaml.h"
#include "volume/check.h"
#include "volume/label_selector.h"
#include "volume/on_update.h"
#include "volume/pod_fields.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the volume");
}

/* ---- words */

const char *const volume_type_words[] = {"opaque",
                                         "basic-auth",
                                         "ssh-auth",
                                         "tls",
                                         "dockerconfigjson",
                                         "dockercfg",
                                         "service-account-token",
                                         "bootstrap-token",
                                         NULL};
const char *const volume_tls_words[] = {"report", "hold", NULL};
const char *const volume_updates_words[] = {
    [VOLUME_UPDATES_GENERATIONS] = "generations", [VOLUME_UPDATES_IN_PLACE] = "in-place", NULL};
const char *const volume_revoked_words[] = {"keep", "remove", NULL};

/* Their types, in the same order. Source: L6. */
static const char *const full_types[] = {
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
};
static_assert(ELEMENTS_OF(volume_type_words) == ELEMENTS_OF(full_types) + 1,
              "each word has a type");

/* In short; also "Opaque", the one that is a word itself. Return: NULL with @e. */
static const char *type_of_word(const char *text, struct error *e)
{
    int found = streq(text, full_types[0]) ? 0 : words_find(volume_type_words, "type", text, e);

    return found >= 0 ? full_types[found] : NULL;
}

int volume_type_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    const char *type = strchr(text, '/') != NULL ? text : type_of_word(text, e);

    if (type == NULL)
        return -EINVAL;
    return volume_text_set(&spec->type, type) < 0 ? no_memory(e) : 0;
}

int volume_tls_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_tls_words, "tls", text, e);

    spec->holds_tls = found == 1;
    return found < 0 ? found : 0;
}

/* Which program that is says the administrator alone. */
static int parse_check_command(struct volume_spec *spec, const char *name, struct error *e)
{
    if (!command_name_is_valid(name))
        return error_set(e, -EINVAL,
                         "invalid name of a command \"%.64s\": use lower-case letters, digits and "
                         "dashes; the administrator says what it runs",
                         name);
    if (spec->check_command != NULL)
        return error_set(e, -EINVAL, "use one command at most");
    return volume_text_set(&spec->check_command, name) < 0 ? no_memory(e) : 0;
}

static int parse_check_word(struct volume_spec *spec, const char *word, struct error *e)
{
    static const char *const words[] = {"tls", "nonempty",     "json", "yaml",
                                        "pem", "command:NAME", NULL};
    const char *command = str_after(word, "command:");
    int found;

    if (command != NULL)
        return parse_check_command(spec, command, e);
    found = words_find(words, "check", word, e);
    if (found < 0)
        return found;
    spec->checks |= volume_check_of_word(word);
    spec->holds_tls |= streq(word, "tls");
    return 0;
}

int volume_check_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    _cleanup_(freep) char *copy = strdup(text);
    char *at = copy, *word;
    int r = 0;

    if (copy == NULL)
        return no_memory(e);
    while (r == 0 && (word = strsep(&at, ",")) != NULL)
        r = parse_check_word(spec, word, e);
    return r;
}

int volume_updates_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_updates_words, "updates", text, e);

    if (found < 0)
        return found;
    spec->updates = (enum volume_updates)found;
    return 0;
}

int volume_revoked_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_revoked_words, "onRevoked", text, e);

    spec->removes_revoked = found == 1;
    return found < 0 ? found : 0;
}

static int parse_report(struct volume_spec *spec, const char *text, struct error *e)
{
    static const char *const words[] = {"condition", "none", NULL};
    int found;

    if (!spec->is_of_pod)
        return error_set(e, -EINVAL, "only in a volume of a pod");
    found = words_find(words, "report", text, e);
    if (found < 0)
        return found;
    spec->report = found == 0 ? VOLUME_REPORT_CONDITION : VOLUME_REPORT_NONE;
    return 0;
}

/* Parse a whole number. Return: 0; -EINVAL. */
static int parse_number(const char *text, int base, unsigned long *ret_number)
{
    char *end;

    if (!isxdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    *ret_number = strtoul(text, &end, base);
    return errno == 0 && *end == '\0' ? 0 : -EINVAL;
}

int volume_id_parse(const char *text, unsigned *ret_id, struct error *e)
{
    unsigned long id;

    if (parse_number(text, 10, &id) < 0 || id >= UINT_MAX)
        return error_set(e, -EINVAL, "invalid user or group id \"%.32s\": use a number", text);
    *ret_id = (unsigned)id;
    return 0;
}

#define MODE_HINT "use 0 to 0777 in octal, with a leading 0, or 0 to 511 in decimal"

int volume_mode_parse(const char *text, mode_t *ret_mode, struct error *e)
{
    bool is_octal = text[0] == '0' && text[1] != '\0';
    const char *digits = is_octal && text[1] == 'o' ? text + 2 : text;
    unsigned long mode;

    if (parse_number(digits, is_octal ? 8 : 10, &mode) < 0 || mode > VOLUME_MODE_MAX)
        return error_set(e, -EINVAL, "invalid mode %.32s: " MODE_HINT, text);
    *ret_mode = (mode_t)mode;
    return 0;
}

static int check_path(const char *path, struct error *e)
{
    const char *fault = payload_path_fault(path);

    if (fault == NULL)
        return 0;
    return error_set(e, -EINVAL, "invalid path \"%.128s\": %s", path, fault);
}

static int add_item(struct volume_source *source, const struct volume_item *item, struct error *e)
{
    int r = volume_source_add_item(source, item);

    if (r == -E2BIG)
        return error_set(e, r, "more than %u items", VOLUME_ITEMS_MAX);
    return r < 0 ? no_memory(e) : 0;
}

int volume_item_parse(struct volume_source *source, const char *text, struct error *e)
{
    struct volume_item item = {
        .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    _cleanup_(freep) char *key = strdup(text);
    char *path, *mode;
    int r = 0;

    if (key == NULL)
        return no_memory(e);
    path = strchr(key, '=');
    if (path == NULL || path == key)
        return error_set(e, -EINVAL, "invalid item \"%.64s\": use KEY=PATH or KEY=PATH:MODE", text);
    *path++ = '\0';
    mode = strrchr(path, ':');
    if (mode != NULL && isdigit((unsigned char)mode[1])) {
        *mode++ = '\0';
        r = volume_mode_parse(mode, &item.mode, e);
    }
    item.key = key;
    item.path = path;
    if (r == 0)
        r = check_path(path, e);
    return r < 0 ? r : add_item(source, &item, e);
}

/* ---- modes of a document */

static int read_mode(const cJSON *json, const struct field *field, const char *name, mode_t *mode,
                     struct error *e)
{
    const cJSON *member = field_member(json, name);
    double n = cJSON_IsNumber(member) ? member->valuedouble : 0;

    if (!(n >= 0 && n <= VOLUME_MODE_MAX) || n != (double)(unsigned)n)
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "invalid mode: " MODE_HINT));
    return field_read_number(json, field, name, VOLUME_MODE_MAX, mode, e);
}

/* ---- items */

static int parse_item(const cJSON *json, const struct field *field, struct volume_source *source,
                      struct error *e)
{
    struct volume_item item = {
        .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    int r = field_check_members(json, field, "key, path, mode, uid, gid, user", e);

    if (r == 0)
        r = field_read_required_text(json, field, "key", &item.key, e);
    if (r == 0)
        r = field_read_required_text(json, field, "path", &item.path, e);
    if (r == 0)
        r = read_mode(json, field, "mode", &item.mode, e);
    if (r == 0)
        r = field_read_number(json, field, "uid", UINT_MAX - 1, &item.uid, e);
    if (r == 0)
        r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e); /* Y23 */
    if (r == 0)
        r = field_read_number(json, field, "gid", UINT_MAX - 1, &item.gid, e);
    if (r < 0)
        return r;
    r = check_path(item.path, e);
    if (r < 0)
        return field_error(&FIELD(field, "path"), e, r);
    r = add_item(source, &item, e);
    return r < 0 ? field_error(field, e, r) : 0;
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

/* ---- sources */

/* How a source is written in its context. */
struct source_words {
    enum object_kind kind;
    const char *name_member;
    const char *known; /* for field_check_members() */
};

static int parse_source(const cJSON *json, const struct field *field, struct volume_spec *spec,
                        const struct source_words *words, struct error *e)
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
    r = volume_spec_add_source(spec, words->kind, name, &source);
    if (r == -E2BIG)
        return field_error(field, e, error_set(e, r, "more than %u sources", VOLUME_SOURCES_MAX));
    if (r < 0)
        return no_memory(e);
    r = field_read_flag(json, field, "optional", &source->is_optional, e);
    return r < 0 ? r : parse_items(json, field, source, e);
}

static int read_defaults(const cJSON *json, const struct field *field, struct volume_spec *spec,
                         struct error *e)
{
    int r = read_mode(json, field, "defaultMode", &spec->default_mode, e);

    if (r == 0) /* Y23 */
        r = field_read_number(json, field, "defaultUser", UINT_MAX - 1, &spec->default_user, e);
    return r;
}

/* A volume of one object. */
static int parse_single(const cJSON *json, const struct field *field, struct volume_spec *spec,
                        const struct source_words *words, struct error *e)
{
    int r = parse_source(json, field, spec, words, e);

    return r < 0 ? r : read_defaults(json, field, spec, e);
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
    struct volume_item item = {
        .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    _cleanup_(freep) char *owned = NULL;
    int r = field_check_members(json, field, "path, fieldRef, resourceFieldRef, mode, user", e);

    if (r == 0)
        r = field_read_required_text(json, field, "path", &item.path, e);
    if (r == 0)
        r = read_mode(json, field, "mode", &item.mode, e);
    if (r == 0)
        r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e);
    if (r == 0)
        r = parse_reference(json, field, &item, &owned, e);
    if (r < 0)
        return r;
    r = check_path(item.path, e);
    if (r < 0)
        return field_error(&FIELD(field, "path"), e, r);
    r = add_item(source, &item, e);
    return r < 0 ? field_error(field, e, r) : 0;
}

static int parse_downward_items(const cJSON *json, const struct field *parent,
                                struct volume_spec *spec, struct error *e)
{
    const struct field field = FIELD(parent, "items");
    const cJSON *items = field_member(json, "items"), *item;
    struct volume_source *source = NULL;
    size_t n = 0;
    int r = field_check_list(items, &field, e);

    if (r < 0)
        return r;
    r = volume_spec_add_source(spec, OBJECT_DOWNWARD_API, "", &source);
    if (r == -E2BIG)
        return field_error(parent, e, error_set(e, r, "more than %u sources", VOLUME_SOURCES_MAX));
    if (r < 0)
        return no_memory(e);
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

    return r < 0 ? r : parse_downward_items(json, field, spec, e);
}

static int parse_downward(const cJSON *json, const struct field *field, struct volume_spec *spec,
                          struct error *e)
{
    int r = field_check_members(json, field, "items, defaultMode, defaultUser", e);

    if (r == 0)
        r = read_defaults(json, field, spec, e);
    return r < 0 ? r : parse_downward_items(json, field, spec, e);
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
    r = check_path(item->path, e);
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
    int r = volume_spec_add_source(spec, kind, "", ret_source);

    if (r == -E2BIG)
        return field_error(field, e, error_set(e, r, "more than %u sources", VOLUME_SOURCES_MAX));
    if (r < 0 || volume_text_set(&(*ret_source)->request, request) < 0)
        return no_memory(e);
    return 0;
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
    return r < 0 ? r : add_item(source, item, e);
}

static int parse_token_source(const cJSON *json, const struct field *field,
                              struct volume_spec *spec, struct error *e)
{
    struct volume_item item = {.key = VOLUME_TOKEN_KEY,
                               .mode = VOLUME_MODE_UNSET,
                               .uid = VOLUME_ID_UNSET,
                               .gid = VOLUME_ID_UNSET};
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
    int r = volume_spec_add_source(spec, OBJECT_CLUSTER_TRUST_BUNDLE, name, ret_source);

    if (r == -E2BIG)
        return field_error(field, e, error_set(e, r, "more than %u sources", VOLUME_SOURCES_MAX));
    if (r < 0 || volume_text_set(&(*ret_source)->detail, detail) < 0)
        return no_memory(e);
    return add_item(*ret_source, item, e);
}

static int parse_bundle_source(const cJSON *json, const struct field *field,
                               struct volume_spec *spec, struct error *e)
{
    struct volume_item item = {.key = VOLUME_BUNDLE_KEY,
                               .mode = VOLUME_MODE_UNSET,
                               .uid = VOLUME_ID_UNSET,
                               .gid = VOLUME_ID_UNSET};
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
    struct volume_item item = {
        .key = key, .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    int r = field_read_text(json, field, name, &item.path, e);

    if (r < 0 || item.path == NULL || item.path[0] == '\0')
        return r;
    r = check_path(item.path, e);
    if (r < 0)
        return field_error(&FIELD(field, name), e, r);
    r = field_read_number(json, field, "user", UINT_MAX - 1, &item.uid, e);
    return r < 0 ? r : add_item(source, &item, e);
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
    return r < 0 ? r : read_certificate_paths(json, field, source, e);
}

/* ---- projected volumes */

static const char *source_kinds(const struct volume_spec *spec)
{
    return spec->is_of_pod ? "secret, configMap, clusterTrustBundle, downwardAPI, "
                             "serviceAccountToken, podCertificate"
                           : "secret, configMap, clusterTrustBundle";
}

static int parse_projected_source(const cJSON *json, const struct field *field,
                                  struct volume_spec *spec, struct error *e)
{
    static const struct source_words secret = {OBJECT_SECRET, "name", "name, items, optional"};
    static const struct source_words configmap = {OBJECT_CONFIGMAP, "name",
                                                  "name, items, optional"};
    const cJSON *found;

    if (!cJSON_IsObject(json))
        return field_error(field, e, error_set(e, -EINVAL, "expected a mapping"));
    found = field_find_only(json, field, "", source_kinds(spec), e);
    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "secret"))
        return parse_source(found, &FIELD(field, "secret"), spec, &secret, e);
    if (streq(found->string, "configMap"))
        return parse_source(found, &FIELD(field, "configMap"), spec, &configmap, e);
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

static int compare_paths(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* N3: as the API server does, only what is written in the same way. */
static int check_conflicts(const struct volume_spec *spec, struct error *e)
{
    _cleanup_(freep) const char **paths = NULL;
    size_t n = 0, n_max = 0;

    for (size_t i = 0; i < spec->n_sources; i++)
        n_max += spec->sources[i].n_items;
    paths = calloc(n_max + 1, sizeof(*paths));
    if (paths == NULL)
        return no_memory(e);
    for (size_t i = 0; i < spec->n_sources; i++)
        for (size_t k = 0; k < spec->sources[i].n_items; k++)
            if (spec->sources[i].kind != OBJECT_SERVICE_ACCOUNT_TOKEN)
                paths[n++] = spec->sources[i].items[k].path;
    qsort(paths, n, sizeof(*paths), compare_paths);
    for (size_t i = 1; i < n; i++)
        if (streq(paths[i - 1], paths[i]))
            return error_set(
                e, -EINVAL, "projected.sources: conflicting duplicate paths: \"%.128s\"", paths[i]);
    return 0;
}

static int parse_projected(const cJSON *json, const struct field *parent, struct volume_spec *spec,
                           const char *known, struct error *e)
{
    const struct field field = FIELD(parent, "sources");
    const cJSON *sources = field_member(json, "sources"), *source;
    size_t n = 0;
    int r = field_check_members(json, parent, known, e);

    if (r == 0)
        r = read_defaults(json, parent, spec, e);
    if (r < 0)
        return r;
    r = field_check_list(sources, &field, e);
    if (r < 0)
        return r;
    cJSON_ArrayForEach (source, sources) {
        r = parse_projected_source(source, &FIELD_AT(&field, n++), spec, e);
        if (r < 0)
            return r;
    }
    return check_conflicts(spec, e);
}

/* ---- secretfs' own options */

/* Read a member with one of the functions that parse words. */
static int parse_word(const cJSON *json, const struct field *field, const char *name,
                      int (*parse)(struct volume_spec *spec, const char *text, struct error *e),
                      struct volume_spec *spec, struct error *e)
{
    const char *text = NULL;
    int r = field_read_text(json, field, name, &text, e);

    if (r < 0 || text == NULL)
        return r;
    r = parse(spec, text, e);
    return r < 0 ? field_error(&FIELD(field, name), e, r) : 0;
}

#define OWN_WORDS                                                                                  \
    "uid, gid, fsGroup, type, tls, check, updates, onRevoked, report, onUpdate, "                  \
    "onUpdateContainer, onUpdateProcess"

static int check_secrets_words(const struct volume_spec *spec, const struct field *field,
                               struct error *e)
{
    const char *word = spec->type != NULL ? "type" : "tls";

    if (spec->kind != VOLUME_CONFIGMAP || (spec->type == NULL && !spec->holds_tls))
        return 0;
    return field_error(&FIELD(field, word), e,
                       error_set(e, -EINVAL, "only for secrets, and the volume is a ConfigMap"));
}

static int read_on_update(const cJSON *json, const struct field *field, struct volume_spec *spec,
                          struct error *e)
{
    int r = parse_word(json, field, "onUpdate", volume_on_update_parse, spec, e);

    if (r == 0)
        r = parse_word(json, field, "onUpdateContainer", volume_on_update_container_parse, spec, e);
    if (r == 0)
        r = parse_word(json, field, "onUpdateProcess", volume_on_update_process_parse, spec, e);
    if (r < 0 || spec->update_signal != 0)
        return r;
    if (spec->update_container != NULL || spec->update_process != NULL)
        return field_error(
            &FIELD(field, "onUpdate"), e,
            error_set(e, -EINVAL, "required with onUpdateContainer and onUpdateProcess"));
    return 0;
}

static int read_own(const cJSON *json, const struct field *field, struct volume_spec *spec,
                    struct error *e)
{
    int r = field_read_number(json, field, "uid", UINT_MAX - 1, &spec->uid, e);

    if (r == 0)
        r = field_read_number(json, field, "gid", UINT_MAX - 1, &spec->gid, e);
    if (r == 0)
        r = field_read_number(json, field, "fsGroup", UINT_MAX - 1, &spec->fs_group, e);
    if (r == 0)
        r = parse_word(json, field, "type", volume_type_parse, spec, e);
    if (r == 0)
        r = parse_word(json, field, "tls", volume_tls_parse, spec, e);
    if (r == 0)
        r = parse_word(json, field, "check", volume_check_parse, spec, e);
    if (r == 0)
        r = check_secrets_words(spec, field, e);
    if (r == 0)
        r = parse_word(json, field, "updates", volume_updates_parse, spec, e);
    if (r == 0)
        r = parse_word(json, field, "onRevoked", volume_revoked_parse, spec, e);
    if (r == 0)
        r = parse_word(json, field, "report", parse_report, spec, e);
    if (r == 0)
        r = read_on_update(json, field, spec, e);
    return r;
}

/* ---- the whole */

static int parse_kind(const cJSON *json, const struct field *field, struct volume_spec *spec,
                      struct error *e)
{
    static const struct source_words words[] = {
        [VOLUME_SECRET] = {OBJECT_SECRET, "secretName",
                           "secretName, items, defaultMode, optional, defaultUser"},
        [VOLUME_CONFIGMAP] = {OBJECT_CONFIGMAP, "name",
                              "name, items, defaultMode, optional, defaultUser"},
    };

    if (spec->kind == VOLUME_PROJECTED)
        return parse_projected(json, field, spec, "sources, defaultMode, defaultUser", e);
    if (spec->kind == VOLUME_DOWNWARD_API)
        return parse_downward(json, field, spec, e);
    return parse_single(json, field, spec, &words[spec->kind], e);
}

static const char *volume_kinds(const struct volume_spec *spec)
{
    return spec->is_of_pod ? "secret, configMap, projected, downwardAPI"
                           : "secret, configMap, projected";
}

static int parse_volume(const cJSON *json, const struct field *root, struct volume_spec *spec,
                        struct error *e)
{
    const cJSON *found = field_find_only(json, root, "name, secretfs", volume_kinds(spec), e);
    const cJSON *own = field_member(json, "secretfs");
    const char *name = NULL;
    struct field field;
    int r;

    if (found == NULL)
        return -EINVAL;
    field = FIELD(root, found->string);
    r = field_read_text(json, root, "name", &name, e);
    if (r == 0 && name != NULL && !object_namespace_is_valid(name))
        r = field_error(&FIELD(root, "name"), e,
                        error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a volume", name));
    if (r == 0 && volume_text_set(&spec->name, name) < 0)
        r = no_memory(e);
    if (r < 0)
        return r;
    if (streq(found->string, "secret"))
        spec->kind = VOLUME_SECRET;
    else if (streq(found->string, "configMap"))
        spec->kind = VOLUME_CONFIGMAP;
    else if (streq(found->string, "projected"))
        spec->kind = VOLUME_PROJECTED;
    else if (streq(found->string, "downwardAPI") && spec->is_of_pod)
        spec->kind = VOLUME_DOWNWARD_API;
    else
        return field_error(
            &field, e,
            error_set(e, -EINVAL, "unsupported volume, expected one of: %s", volume_kinds(spec)));
    r = parse_kind(found, &field, spec, e);
    if (r < 0 || own == NULL)
        return r;
    field = FIELD(root, "secretfs");
    r = field_check_members(own, &field, OWN_WORDS, e);
    return r < 0 ? r : read_own(own, &field, spec, e);
}

static int parse_entry(const cJSON *json, const struct field *root, struct volume_spec *spec,
                       struct error *e)
{
    /* an entry copied with its dash is a list of one */
    const cJSON *entry = cJSON_IsArray(json) && cJSON_GetArraySize(json) == 1 ? json->child : json;

    if (!cJSON_IsObject(entry))
        return field_error(
            root, e,
            error_set(e, -EINVAL, "expected one entry of a pod's volumes: a mapping with one of %s",
                      volume_kinds(spec)));
    return parse_volume(entry, root, spec, e);
}

int volume_spec_parse_entry(const cJSON *entry, const char *root_name,
                            struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    if (r < 0)
        return no_memory(e);
    r = parse_entry(entry, &FIELD(NULL, root_name), spec, e);
    if (r == 0)
        r = volume_spec_check_size(spec, e);
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}

int volume_spec_parse(const char *text, size_t len, struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = yaml_parse_one(text, len, &json, e);

    return r < 0 ? r : volume_spec_parse_entry(json, "", ret_spec, e);
}

/* ---- the same in one flat mapping */

#define FLAT_SINGLE_WORDS ", items, defaultMode, optional, " OWN_WORDS

static int parse_flat(const cJSON *json, const struct field *root, struct volume_spec *spec,
                      struct error *e)
{
    static const struct source_words secret = {OBJECT_SECRET, "secretName",
                                               "secretName" FLAT_SINGLE_WORDS};
    static const struct source_words configmap = {OBJECT_CONFIGMAP, "configMap",
                                                  "configMap" FLAT_SINGLE_WORDS};
    const cJSON *found = field_find_only(json, root, "items, defaultMode, optional, " OWN_WORDS,
                                         "secretName, configMap, sources, volume, podVolume", e);
    struct field field;
    int r;

    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "secretName")) {
        spec->kind = VOLUME_SECRET;
        return parse_single(json, root, spec, &secret, e);
    }
    if (streq(found->string, "configMap")) {
        spec->kind = VOLUME_CONFIGMAP;
        return parse_single(json, root, spec, &configmap, e);
    }
    if (streq(found->string, "sources")) {
        spec->kind = VOLUME_PROJECTED;
        return parse_projected(json, root, spec, "sources, defaultMode, " OWN_WORDS, e);
    }
    field = FIELD(root, found->string);
    r = field_check_members(json, root, "volume, podVolume, " OWN_WORDS, e);
    return r < 0 ? r : parse_entry(found, &field, spec, e);
}

int volume_spec_parse_flat(const cJSON *words, const char *root_name, struct volume_spec **ret_spec,
                           struct error *e)
{
    const struct field root = FIELD(NULL, root_name);
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    if (r < 0)
        return no_memory(e);
    spec->is_of_pod = true;
    /* first: an unknown attribute explains other errors */
    r = field_check_members(words, &root,
                            "secretName, configMap, sources, volume, podVolume, items, "
                            "defaultMode, optional, " OWN_WORDS,
                            e);
    if (r == 0)
        r = parse_flat(words, &root, spec, e);
    if (r == 0)
        r = read_own(words, &root, spec, e);
    if (r == 0)
        r = volume_spec_check_size(spec, e);
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}
