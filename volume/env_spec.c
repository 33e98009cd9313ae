/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spec comes from a container's lists or from options; each entry is checked as it is added.
 * Literal values may be secret: errors name fields and variables, never values.
 */
#include "volume/env_spec.h"

#include "base/buf.h"
#include "base/file_read.h"
#include "encoding/field.h"
#include "encoding/yaml.h"
#include "volume/spec.h"

static void source_deinit(struct env_source *source)
{
    volume_text_set(&source->object_name, NULL);
    volume_text_set(&source->name, NULL);
    volume_text_set(&source->key, NULL);
    volume_text_set(&source->directory, NULL);
    volume_text_set(&source->path, NULL);
    volume_text_set(&source->value, NULL);
}

static void env_volume_deinit(struct env_volume *volume)
{
    volume_text_set(&volume->name, NULL);
    volume_text_set(&volume->directory, NULL);
}

void env_spec_deinit(struct env_spec *spec)
{
    for (size_t i = 0; i < spec->n_sources; i++)
        source_deinit(&spec->sources[i]);
    for (size_t i = 0; i < spec->n_volumes; i++)
        env_volume_deinit(&spec->volumes[i]);
    free(spec->sources);
    free(spec->volumes);
    *spec = (struct env_spec){.sources = NULL};
}

/* ---- names */

static bool is_strict_character(char c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' ||
           (c >= '0' && c <= '9' && !is_first);
}

bool env_name_is_valid(const char *name, enum env_names names)
{
    bool is_strict = names == ENV_NAMES_STRICT;

    if (*name == '\0')
        return false;
    if (is_strict && (streq(name, ".") || str_after(name, "..") != NULL))
        return false;
    for (const char *c = name; *c != '\0'; c++) {
        bool is_good =
            is_strict ? is_strict_character(*c, c == name) : *c >= ' ' && *c <= '~' && *c != '=';

        if (!is_good)
            return false;
    }
    return true;
}

static int check_name(const struct env_source *source, enum env_names names, struct error *e)
{
    bool is_prefix = source->kind == ENV_OBJECT;
    const char *what = is_prefix ? "prefix" : "name for a variable";

    if ((is_prefix && source->name[0] == '\0') || env_name_is_valid(source->name, names))
        return 0;
    if (names == ENV_NAMES_STRICT && env_name_is_valid(source->name, ENV_NAMES_RELAXED))
        return error_set(
            e, -EINVAL,
            "\"%.64s\" is not a valid %s: use letters, digits, \"-\", \"_\" and \".\", "
            "no digit first, or leave out --env-names strict",
            source->name, what);
    return error_set(e, -EINVAL, "\"%.64s\" is not a valid %s", source->name, what);
}

/* ---- adding one */

static int check_object(const struct env_source *source, struct error *e)
{
    if (!object_name_is_valid(source->object_name))
        return error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a %s", source->object_name,
                         object_kind_word(source->object_kind));
    if (source->kind == ENV_KEY && source->key[0] == '\0')
        return error_set(e, -EINVAL, "the key of %s \"%.64s\" is missing",
                         object_kind_word(source->object_kind), source->object_name);
    if (source->kind == ENV_KEY && !object_data_key_is_valid(source->key))
        return error_set(e, -EINVAL, "\"%.64s\" is not a valid key of a %s", source->key,
                         object_kind_word(source->object_kind));
    return 0;
}

static int copy_source(const struct env_source *source, struct env_source *ret_copy)
{
    struct env_source copy = {.kind = source->kind,
                              .object_kind = source->object_kind,
                              .is_optional = source->is_optional};

    if (volume_text_set(&copy.object_name, source->object_name) < 0 ||
        volume_text_set(&copy.name, source->name) < 0 ||
        volume_text_set(&copy.key, source->key) < 0 ||
        volume_text_set(&copy.directory, source->directory) < 0 ||
        volume_text_set(&copy.path, source->path) < 0 ||
        volume_text_set(&copy.value, source->value) < 0) {
        source_deinit(&copy);
        return -ENOMEM;
    }
    *ret_copy = copy;
    return 0;
}

int env_spec_add(struct env_spec *spec, const struct env_source *source, struct error *e)
{
    struct env_source *sources;
    int r = source->object_name != NULL ? check_object(source, e) : 0;

    assert(source->name != NULL && (source->kind == ENV_LITERAL) == (source->value != NULL));
    assert((source->kind == ENV_OBJECT || source->kind == ENV_KEY) ==
           (source->object_name != NULL));
    assert((source->kind == ENV_FILE) == (source->directory != NULL && source->path != NULL));
    if (r == 0)
        r = check_name(source, spec->names, e);
    if (r < 0)
        return r;
    if (spec->n_sources == ENV_SPEC_MAX_SOURCES)
        return error_set(e, -E2BIG, "more than %d variables and envFrom entries",
                         ENV_SPEC_MAX_SOURCES);
    sources = reallocarray(spec->sources, spec->n_sources + 1, sizeof(*sources));
    if (sources == NULL)
        return error_set_errno(e, -ENOMEM, "cannot add a variable");
    spec->sources = sources;
    r = copy_source(source, &sources[spec->n_sources]);
    if (r < 0)
        return error_set_errno(e, r, "cannot add a variable");
    spec->n_sources++;
    return 0;
}

/* ---- from the command line */

int env_spec_add_key(struct env_spec *spec, const char *text, bool is_optional, struct error *e)
{
    struct env_source source = {.kind = ENV_KEY, .is_optional = is_optional};
    _cleanup_(freep) char *copy = strdup(text);
    char *object, *slash;

    if (copy == NULL)
        return error_set_errno(e, -ENOMEM, "cannot add a variable");
    object = strchr(copy, '=');
    source.object_name = object != NULL ? object_kind_parse(object + 1, &source.object_kind) : NULL;
    slash = source.object_name != NULL ? strchr(copy + (source.object_name - copy), '/') : NULL;
    /* the text after "=" may be a secret that the user hoped to set: it is not repeated */
    if (slash == NULL)
        return error_set(e, -EINVAL,
                         "\"%.*s\" does not name the key of an object: use VAR=secret/NAME/KEY or "
                         "VAR=configmap/NAME/KEY",
                         (int)size_min(strcspn(text, "="), 64), text);
    *object = *slash = '\0';
    source.name = copy;
    source.key = slash + 1;
    return env_spec_add(spec, &source, e);
}

int env_spec_add_object(struct env_spec *spec, const char *text, bool is_optional, struct error *e)
{
    struct env_source source = {.kind = ENV_OBJECT, .name = "", .is_optional = is_optional};
    _cleanup_(freep) char *copy = strdup(text);
    char *colon;

    if (copy == NULL)
        return error_set_errno(e, -ENOMEM, "cannot add an object");
    source.object_name = object_kind_parse(copy, &source.object_kind);
    if (source.object_name == NULL)
        return object_kind_invalid(text, e);
    colon = strchr(copy + (source.object_name - copy), ':');
    if (colon != NULL) {
        *colon = '\0';
        source.name = colon + 1;
    }
    return env_spec_add(spec, &source, e);
}

static const struct env_volume *find_volume(const struct env_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_volumes; i++)
        if (streq(spec->volumes[i].name, name))
            return &spec->volumes[i];
    return NULL;
}

static int append_volume(struct env_spec *spec, const char *name, const char *directory)
{
    struct env_volume *volumes = reallocarray(spec->volumes, spec->n_volumes + 1, sizeof(*volumes));
    struct env_volume volume = {.name = NULL};

    if (volumes == NULL)
        return -ENOMEM;
    spec->volumes = volumes;
    if (volume_text_set(&volume.name, name) < 0 ||
        volume_text_set(&volume.directory, directory) < 0) {
        env_volume_deinit(&volume);
        return -ENOMEM;
    }
    volumes[spec->n_volumes++] = volume;
    return 0;
}

int env_spec_add_volume(struct env_spec *spec, const char *text, struct error *e)
{
    size_t name_len = strcspn(text, "=");
    _cleanup_(freep) char *name = strndup(text, name_len);
    int r = -ENOMEM;

    if (name_len == 0 || text[name_len] == '\0' || text[name_len + 1] == '\0')
        return error_set(e, -EINVAL, "invalid volume \"%.64s\": use NAME=DIRECTORY", text);
    if (name != NULL && find_volume(spec, name) != NULL)
        return error_set(e, -EINVAL, "volume \"%.64s\" has a directory already", name);
    if (spec->n_volumes == ENV_SPEC_MAX_VOLUMES)
        return error_set(e, -E2BIG, "more than %d volumes", ENV_SPEC_MAX_VOLUMES);
    if (name != NULL)
        r = append_volume(spec, name, text + name_len + 1);
    return r < 0 ? error_set_errno(e, r, "cannot add a volume") : 0;
}

/* ---- from a container's lists */

static int missing_field(const struct field *field, const char *name, struct error *e)
{
    return field_error(&FIELD(field, name), e, error_set(e, -EINVAL, "required field is missing"));
}

/* Read a reference to an object. Strings of @source are borrowed from @json. */
static int read_reference(const cJSON *json, const struct field *field, struct env_source *source,
                          struct error *e)
{
    bool has_key = source->kind == ENV_KEY;
    const char *name = NULL, *key = NULL;
    int r = field_check_members(json, field, has_key ? "name, key, optional" : "name, optional", e);

    if (r == 0)
        r = field_read_text(json, field, "name", &name, e);
    if (r == 0)
        r = field_read_flag(json, field, "optional", &source->is_optional, e);
    if (r == 0 && has_key)
        r = field_read_text(json, field, "key", &key, e);
    if (r < 0)
        return r;
    if (name == NULL || (has_key && key == NULL))
        return missing_field(field, name == NULL ? "name" : "key", e);
    source->object_name = name;
    source->key = key;
    return 0;
}

/* Read the one member of @json, @secret or @configmap, that refers to an object. */
static int read_only_reference(const cJSON *json, const struct field *field, const char *secret,
                               const char *configmap, struct env_source *source, struct error *e)
{
    const cJSON *in_secret = field_member(json, secret);
    const cJSON *in_configmap = field_member(json, configmap);
    bool is_secret = in_secret != NULL;

    if (is_secret == (in_configmap != NULL))
        return field_error(field, e,
                           error_set(e, -EINVAL, "expected one of: %s, %s", secret, configmap));
    source->object_kind = is_secret ? OBJECT_SECRET : OBJECT_CONFIGMAP;
    return is_secret ? read_reference(in_secret, &FIELD(field, secret), source, e)
                     : read_reference(in_configmap, &FIELD(field, configmap), source, e);
}

static bool has_backsteps(const char *path)
{
    for (size_t len; *path != '\0'; path += len + (path[len] == '/')) {
        len = strcspn(path, "/");
        if (len == 2 && memcmp(path, "..", 2) == 0)
            return true;
    }
    return false;
}

static int check_file(const struct env_source *source, const struct field *field, struct error *e)
{
    if (!env_name_is_valid(source->key, ENV_NAMES_RELAXED))
        return field_error(
            &FIELD(field, "key"), e,
            error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a variable", source->key));
    if (has_backsteps(source->path))
        return field_error(&FIELD(field, "path"), e,
                           error_set(e, -EINVAL, "\"%.64s\" has \"..\" in it", source->path));
    return 0;
}

/* Read a fileKeyRef. Strings of @source are borrowed from @json and @spec. */
static int read_file_reference(const struct env_spec *spec, const cJSON *json,
                               const struct field *field, struct env_source *source,
                               struct error *e)
{
    const char *volume_name = NULL;
    const struct env_volume *volume;
    int r = field_check_members(json, field, "volumeName, path, key, optional", e);

    source->kind = ENV_FILE;
    if (r == 0)
        r = field_read_text(json, field, "volumeName", &volume_name, e);
    if (r == 0)
        r = field_read_text(json, field, "path", &source->path, e);
    if (r == 0)
        r = field_read_text(json, field, "key", &source->key, e);
    if (r == 0)
        r = field_read_flag(json, field, "optional", &source->is_optional, e);
    if (r < 0)
        return r;
    if (volume_name == NULL)
        return missing_field(field, "volumeName", e);
    if (source->path == NULL || source->path[0] == '\0')
        return missing_field(field, "path", e);
    if (source->key == NULL)
        return missing_field(field, "key", e);
    volume = find_volume(spec, volume_name);
    if (volume == NULL)
        return field_error(&FIELD(field, "volumeName"), e,
                           error_set(e, -EINVAL,
                                     "no directory for the volume \"%.64s\": add --env-volume "
                                     "%.64s=DIRECTORY",
                                     volume_name, volume_name));
    source->directory = volume->directory;
    return check_file(source, field, e);
}

static int read_value_from(const struct env_spec *spec, const cJSON *json,
                           const struct field *field, struct env_source *source, struct error *e)
{
    static const char *const only_in_pods[] = {"fieldRef", "resourceFieldRef"};
    const cJSON *in_file;
    int r;

    source->kind = ENV_KEY;
    for (size_t i = 0; i < ELEMENTS_OF(only_in_pods); i++)
        if (field_member(json, only_in_pods[i]) != NULL)
            return field_error(field, e,
                               error_set(e, -EINVAL,
                                         "%s is not supported, as there is no pod: use "
                                         "secretKeyRef, configMapKeyRef, fileKeyRef or a value",
                                         only_in_pods[i]));
    r = field_check_members(json, field, "secretKeyRef, configMapKeyRef, fileKeyRef", e);
    if (r < 0)
        return r;
    in_file = field_member(json, "fileKeyRef");
    if (in_file == NULL)
        return read_only_reference(json, field, "secretKeyRef", "configMapKeyRef", source, e);
    if (field_member(json, "secretKeyRef") != NULL || field_member(json, "configMapKeyRef") != NULL)
        return field_error(field, e,
                           error_set(e, -EINVAL, "fileKeyRef conflicts with another reference"));
    return read_file_reference(spec, in_file, &FIELD(field, "fileKeyRef"), source, e);
}

static int add_env_entry(struct env_spec *spec, const cJSON *json, const struct field *field,
                         struct error *e)
{
    const cJSON *value_from = field_member(json, "valueFrom");
    struct env_source source = {.kind = ENV_LITERAL};
    const char *name = NULL, *value = NULL;
    int r = field_check_members(json, field, "name, value, valueFrom", e);

    if (r == 0)
        r = field_read_text(json, field, "name", &name, e);
    if (r == 0)
        r = field_read_text(json, field, "value", &value, e);
    if (r == 0 && name == NULL)
        r = missing_field(field, "name", e);
    if (r == 0 && value_from != NULL && value != NULL && value[0] != '\0')
        r = field_error(field, e, error_set(e, -EINVAL, "value conflicts with valueFrom"));
    if (r == 0 && value_from != NULL)
        r = read_value_from(spec, value_from, &FIELD(field, "valueFrom"), &source, e);
    if (r < 0)
        return r;
    source.name = name;
    if (value_from == NULL)
        source.value = (value != NULL ? value : "");
    return env_spec_add(spec, &source, e);
}

static int add_env_from_entry(struct env_spec *spec, const cJSON *json, const struct field *field,
                              struct error *e)
{
    struct env_source source = {.kind = ENV_OBJECT};
    const char *prefix = NULL;
    int r = field_check_members(json, field, "prefix, secretRef, configMapRef", e);

    if (r == 0)
        r = field_read_text(json, field, "prefix", &prefix, e);
    if (r == 0)
        r = read_only_reference(json, field, "secretRef", "configMapRef", &source, e);
    if (r < 0)
        return r;
    source.name = (prefix != NULL ? prefix : "");
    return env_spec_add(spec, &source, e);
}

typedef int add_entry_fn(struct env_spec *spec, const cJSON *json, const struct field *field,
                         struct error *e);

static int add_list(struct env_spec *spec, const cJSON *document, const char *list_name,
                    add_entry_fn *add_entry, struct error *e)
{
    const struct field root = FIELD(NULL, "");
    const cJSON *list = field_member(document, list_name), *entry;
    size_t i = 0;
    int r = field_check_list(list, &FIELD(&root, list_name), e);

    if (r < 0)
        return r;
    cJSON_ArrayForEach (entry, list) {
        const char *name = json_text(entry, "name");

        /* the entry's prefix has the variable's name, so the path begins below it */
        r = add_entry(spec, entry, &root, e);
        if (r < 0 && name != NULL)
            return error_prefix(e, r, "%s[%zu] (%.64s)", list_name, i, name);
        if (r < 0)
            return error_prefix(e, r, "%s[%zu]", list_name, i);
        i++;
    }
    return 0;
}

int env_spec_add_document(struct env_spec *spec, const cJSON *document, struct error *e)
{
    int r = field_check_members(document, &FIELD(NULL, ""), "env, envFrom", e);

    if (r == 0)
        r = add_list(spec, document, "envFrom", add_env_from_entry, e);
    if (r == 0)
        r = add_list(spec, document, "env", add_env_entry, e);
    return r;
}

int env_spec_add_file(struct env_spec *spec, const char *path, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(YAML_MAX_BYTES);
    _cleanup_(cJSON_Deletep) cJSON *document = NULL;
    int r = file_load(path, &text, e);

    if (r < 0)
        return r;
    r = yaml_parse_one(buf_text(&text), text.len, &document, e);
    if (r >= 0)
        r = env_spec_add_document(spec, document, e);
    return r < 0 ? error_prefix(e, r, "%s", path) : 0;
}
