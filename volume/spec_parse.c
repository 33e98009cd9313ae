/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of a pod's volumes and a flat mapping of attributes become the same spec, as do the
 * words of a command line (spec_words.c). source_parse.c reads the sources; here is what concerns
 * the volume as a whole. What the API server checks when it accepts a pod, and what the kubelet
 * checks when it writes files, is checked at once, so that an error is reported before a mount,
 * with the path of the field (encoding/field.h).
 *
 * type and tls select Secrets; in the entry of a ConfigMap they are an error, as they would have no
 * effect.
 */
#include "volume/spec_parse.h"

#include <limits.h>

#include "encoding/yaml.h"
#include "volume/on_update.h"
#include "volume/source_parse.h"
#include "volume/spec_words.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the volume");
}

/* ---- kinds of volumes */

static int read_defaults(const cJSON *json, const struct field *field, struct volume_spec *spec,
                         struct error *e)
{
    int r = volume_mode_read(json, field, "defaultMode", &spec->default_mode, e);

    if (r == 0) /* Y23 */
        r = field_read_number(json, field, "defaultUser", UINT_MAX - 1, &spec->default_user, e);
    return r;
}

/* A volume of one object. */
static int parse_single(const cJSON *json, const struct field *field, struct volume_spec *spec,
                        const struct volume_source_words *words, struct error *e)
{
    int r = volume_source_parse(json, field, spec, words, e);

    return r < 0 ? r : read_defaults(json, field, spec, e);
}

static int parse_downward(const cJSON *json, const struct field *field, struct volume_spec *spec,
                          struct error *e)
{
    int r = field_check_members(json, field, "items, defaultMode, defaultUser", e);

    if (r == 0)
        r = read_defaults(json, field, spec, e);
    return r < 0 ? r : volume_source_parse_downward(json, field, spec, e);
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
        r = volume_source_parse_projected(source, &FIELD_AT(&field, n++), spec, e);
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
        r = parse_word(json, field, "report", volume_report_parse, spec, e);
    if (r == 0)
        r = read_on_update(json, field, spec, e);
    return r;
}

/* ---- the whole */

static int parse_kind(const cJSON *json, const struct field *field, struct volume_spec *spec,
                      struct error *e)
{
    static const struct volume_source_words words[] = {
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
    static const struct volume_source_words secret = {OBJECT_SECRET, "secretName",
                                                      "secretName" FLAT_SINGLE_WORDS};
    static const struct volume_source_words configmap = {OBJECT_CONFIGMAP, "configMap",
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
