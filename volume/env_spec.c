/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values may be secret although they are literals: messages name places and variables, no values.
 * An unknown field is an error, as it may be a misspelt "optional" or "prefix".
 */
#include "volume/env_spec.h"

#include <fcntl.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "encoding/yaml.h"

static void source_deinit(struct env_source *source)
{
    free(source->object_name);
    free(source->name);
    free(source->key);
    free(source->value);
}

void env_spec_deinit(struct env_spec *spec)
{
    for (size_t i = 0; i < spec->n_sources; i++)
        source_deinit(&spec->sources[i]);
    free(spec->sources);
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
    if (names == ENV_NAMES_STRICT && env_name_is_valid(source->name, ENV_NAMES_ANY))
        return error_set(e, -EINVAL,
                         "\"%.64s\" is not a valid %s: letters, digits, \"-\", \"_\" and \".\" "
                         "are, and no digit first; --env-names any allows more",
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

static int copy_text(const char *text, char **ret_copy)
{
    if (text == NULL)
        return 0;
    *ret_copy = strdup(text);
    return *ret_copy != NULL ? 0 : -ENOMEM;
}

static int copy_source(const struct env_source *source, struct env_source *ret_copy)
{
    struct env_source copy = {.kind = source->kind,
                              .object_kind = source->object_kind,
                              .is_optional = source->is_optional};

    if (copy_text(source->object_name, &copy.object_name) < 0 ||
        copy_text(source->name, &copy.name) < 0 || copy_text(source->key, &copy.key) < 0 ||
        copy_text(source->value, &copy.value) < 0) {
        source_deinit(&copy);
        return -ENOMEM;
    }
    *ret_copy = copy;
    return 0;
}

int env_spec_add(struct env_spec *spec, const struct env_source *source, struct error *e)
{
    struct env_source *sources;
    int r = source->kind == ENV_LITERAL ? 0 : check_object(source, e);

    if (r == 0)
        r = check_name(source, spec->names, e);
    if (r < 0)
        return r;
    if (spec->n_sources == ENV_SPEC_MAX_SOURCES)
        return error_set(e, -E2BIG, "more than %d variables and envFrom entries",
                         ENV_SPEC_MAX_SOURCES);
    sources = reallocarray(spec->sources, spec->n_sources + 1, sizeof(*sources));
    if (sources == NULL)
        return error_set_errno(e, -ENOMEM, "cannot take in a variable");
    spec->sources = sources;
    r = copy_source(source, &sources[spec->n_sources]);
    if (r < 0)
        return error_set_errno(e, r, "cannot take in a variable");
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
        return error_set_errno(e, -ENOMEM, "cannot take in a variable");
    object = strchr(copy, '=');
    source.object_name = object != NULL
                             ? (char *)(uintptr_t)object_kind_parse(object + 1, &source.object_kind)
                             : NULL;
    slash = source.object_name != NULL ? strchr(source.object_name, '/') : NULL;
    /* what stands behind "=" may be a value that somebody hoped to set: it is not repeated */
    if (slash == NULL)
        return error_set(e, -EINVAL,
                         "\"%.*s\" does not say where its value is: say VAR=secret/NAME/KEY or "
                         "VAR=configmap/NAME/KEY",
                         (int)size_min(strcspn(text, "="), 64), text);
    *object = *slash = '\0';
    source.name = copy;
    source.key = slash + 1;
    return env_spec_add(spec, &source, e);
}

int env_spec_add_object(struct env_spec *spec, const char *text, bool is_optional, struct error *e)
{
    char none[] = "";
    struct env_source source = {.kind = ENV_OBJECT, .name = none, .is_optional = is_optional};
    _cleanup_(freep) char *copy = strdup(text);
    char *colon;

    if (copy == NULL)
        return error_set_errno(e, -ENOMEM, "cannot take in an object");
    source.object_name = (char *)(uintptr_t)object_kind_parse(copy, &source.object_kind);
    if (source.object_name == NULL)
        return error_set(e, -EINVAL, "\"%.64s\" is no object: say secret/NAME or configmap/NAME",
                         text);
    colon = strchr(source.object_name, ':');
    if (colon != NULL) {
        *colon = '\0';
        source.name = colon + 1;
    }
    return env_spec_add(spec, &source, e);
}

/* ---- from a container's lists */

static bool is_null(const cJSON *value)
{
    return value == NULL || cJSON_IsNull(value);
}

/* @allowed: NULL-terminated. What is null counts as not there. */
static int check_fields(const cJSON *object, const char *const allowed[], struct error *e)
{
    const cJSON *member;

    if (!cJSON_IsObject(object))
        return error_set(e, -EINVAL, "it has to be a mapping");
    cJSON_ArrayForEach (member, object) {
        const char *const *name = allowed;

        while (*name != NULL && !streq(*name, member->string))
            name++;
        if (*name == NULL)
            return error_set(e, -EINVAL, "unknown field \"%.64s\"", member->string);
    }
    return 0;
}

/* @ret_text: borrowed; NULL if the member is missing. */
static int get_text(const cJSON *object, const char *name, const char **ret_text, struct error *e)
{
    const cJSON *member = json_member(object, name);

    *ret_text = NULL;
    if (is_null(member))
        return 0;
    if (!cJSON_IsString(member) || yaml_is_binary(member))
        return error_set(e, -EINVAL, "%s has to be a string: put it in quotes", name);
    *ret_text = member->valuestring;
    return 0;
}

static int get_bool(const cJSON *object, const char *name, bool *ret_value, struct error *e)
{
    const cJSON *member = json_member(object, name);

    if (!is_null(member) && !cJSON_IsBool(member))
        return error_set(e, -EINVAL, "%s has to be true or false", name);
    *ret_value = cJSON_IsTrue(member);
    return 0;
}

/* What all references to an object have. Strings of @source are borrowed from @reference. */
static int get_reference(const cJSON *reference, struct env_source *source, struct error *e)
{
    static const char *const of_object[] = {"name", "optional", NULL};
    static const char *const of_key[] = {"name", "key", "optional", NULL};
    const char *name, *key = NULL;
    int r = check_fields(reference, source->kind == ENV_KEY ? of_key : of_object, e);

    if (r >= 0)
        r = get_text(reference, "name", &name, e);
    if (r >= 0)
        r = get_bool(reference, "optional", &source->is_optional, e);
    if (r >= 0 && source->kind == ENV_KEY)
        r = get_text(reference, "key", &key, e);
    if (r < 0)
        return r;
    if (name == NULL || (source->kind == ENV_KEY && key == NULL))
        return error_set(e, -EINVAL, "%s is missing", name == NULL ? "name" : "key");
    source->object_name = (char *)(uintptr_t)name;
    source->key = (char *)(uintptr_t)key;
    return 0;
}

/* The one member that refers to an object. */
static int choose_reference(const cJSON *holder, const char *secret, const char *configmap,
                            struct env_source *source, struct error *e)
{
    const cJSON *in_secret = json_member(holder, secret);
    const cJSON *in_configmap = json_member(holder, configmap);
    bool is_secret = !is_null(in_secret);
    int r;

    if (is_secret == !is_null(in_configmap))
        return error_set(e, -EINVAL, "it needs one of %s and %s", secret, configmap);
    source->object_kind = is_secret ? OBJECT_SECRET : OBJECT_CONFIGMAP;
    r = get_reference(is_secret ? in_secret : in_configmap, source, e);
    return r < 0 ? error_prefix(e, r, "%s", is_secret ? secret : configmap) : 0;
}

static int get_value_from(const cJSON *value_from, struct env_source *source, struct error *e)
{
    static const char *const allowed[] = {"secretKeyRef", "configMapKeyRef", NULL};
    static const char *const only_in_pods[] = {"fieldRef", "resourceFieldRef", "fileKeyRef"};
    int r;

    source->kind = ENV_KEY;
    for (size_t i = 0; i < ELEMENTS_OF(only_in_pods); i++)
        if (!is_null(json_member(value_from, only_in_pods[i])))
            return error_set(e, -EINVAL,
                             "%s is not supported, as there is no pod to ask: use secretKeyRef, "
                             "configMapKeyRef or a value",
                             only_in_pods[i]);
    r = check_fields(value_from, allowed, e);
    return r < 0 ? r : choose_reference(value_from, allowed[0], allowed[1], source, e);
}

static int add_env_entry(struct env_spec *spec, const cJSON *entry, struct error *e)
{
    static const char *const allowed[] = {"name", "value", "valueFrom", NULL};
    const cJSON *value_from = json_member(entry, "valueFrom");
    struct env_source source = {.kind = ENV_LITERAL};
    const char *name, *value;
    int r = check_fields(entry, allowed, e);

    if (r >= 0)
        r = get_text(entry, "name", &name, e);
    if (r >= 0)
        r = get_text(entry, "value", &value, e);
    if (r < 0)
        return r;
    if (name == NULL)
        return error_set(e, -EINVAL, "name is missing");
    source.name = (char *)(uintptr_t)name;
    source.value = (char *)(uintptr_t)(value != NULL ? value : "");
    if (is_null(value_from))
        return env_spec_add(spec, &source, e);
    if (source.value[0] != '\0')
        return error_set(e, -EINVAL, "value and valueFrom do not go together");
    source.value = NULL;
    r = get_value_from(value_from, &source, e);
    if (r < 0)
        return error_prefix(e, r, "valueFrom");
    return env_spec_add(spec, &source, e);
}

static int add_env_from_entry(struct env_spec *spec, const cJSON *entry, struct error *e)
{
    static const char *const allowed[] = {"prefix", "secretRef", "configMapRef", NULL};
    struct env_source source = {.kind = ENV_OBJECT};
    const char *prefix;
    int r = check_fields(entry, allowed, e);

    if (r >= 0)
        r = get_text(entry, "prefix", &prefix, e);
    if (r >= 0)
        r = choose_reference(entry, "secretRef", "configMapRef", &source, e);
    if (r < 0)
        return r;
    source.name = (char *)(uintptr_t)(prefix != NULL ? prefix : "");
    return env_spec_add(spec, &source, e);
}

typedef int add_entry_fn(struct env_spec *spec, const cJSON *entry, struct error *e);

static int add_list(struct env_spec *spec, const cJSON *document, const char *list_name,
                    add_entry_fn *add_entry, struct error *e)
{
    const cJSON *list = json_member(document, list_name), *entry;
    size_t i = 0;

    if (is_null(list))
        return 0;
    if (!cJSON_IsArray(list))
        return error_set(e, -EINVAL, "%s has to be a list", list_name);
    cJSON_ArrayForEach (entry, list) {
        const char *name = json_text(entry, "name");
        int r = add_entry(spec, entry, e);

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
    static const char *const allowed[] = {"env", "envFrom", NULL};
    int r = check_fields(document, allowed, e);

    if (r >= 0)
        r = add_list(spec, document, "envFrom", add_env_from_entry, e);
    if (r >= 0)
        r = add_list(spec, document, "env", add_env_entry, e);
    return r;
}

int env_spec_add_file(struct env_spec *spec, const char *path, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(YAML_MAX_BYTES);
    _cleanup_(cJSON_Deletep) cJSON *document = NULL;
    int r = buf_read_file(&text, AT_FDCWD, path);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = yaml_parse_one(buf_text(&text), text.len, &document, e);
    if (r >= 0)
        r = env_spec_add_document(spec, document, e);
    return r < 0 ? error_prefix(e, r, "%s", path) : 0;
}
