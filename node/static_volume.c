/* SPDX-License-Identifier: Apache-2.0 */
#include "node/static_volume.h"

#include <grp.h>
#include <limits.h>
#include <pwd.h>

#include "encoding/field.h"
#include "encoding/yaml.h"
#include "volume/spec_words.h"

#define NAME_BUFFER_BYTES 16384 /* a line of /etc/group with a thousand members */

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the volume");
}

/* ---- members */

/* Copy the member's text to *text, which is unchanged if the member is absent. */
static int read_text(const cJSON *json, const struct field *field, const char *name, char **text,
                     struct error *e)
{
    const char *given = NULL;
    int r = field_read_text(json, field, name, &given, e);

    if (r < 0 || given == NULL)
        return r;
    if (given[0] == '\0')
        return field_error(&FIELD(field, name), e, error_set(e, -EINVAL, "must not be empty"));
    *text = strdup(given);
    return *text != NULL ? 0 : no_memory(e);
}

/* As read_text(), for an absolute path. */
static int read_path(const cJSON *json, const struct field *field, const char *name, char **path,
                     struct error *e)
{
    int r = read_text(json, field, name, path, e);

    if (r < 0 || *path == NULL)
        return r;
    if ((*path)[0] != '/')
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "\"%.128s\" is not an absolute path", *path));
    if (strlen(*path) >= PATH_MAX)
        return field_error(&FIELD(field, name), e, error_set(e, -EINVAL, "the path is too long"));
    return 0;
}

/* ---- the target */

/* Remove doubled and trailing slashes. Return: why the path is invalid, or NULL. */
static const char *normalize_target(char *path)
{
    char *out = path;

    assert(path[0] == '/');
    for (const char *at = path; *at != '\0';) {
        const char *name = at + strspn(at, "/");
        size_t len = strcspn(name, "/");

        if (len == 0)
            break;
        if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
            return "must not contain . or ..";
        *out++ = '/';
        memmove(out, name, len);
        out += len;
        at = name + len;
    }
    *out = '\0';
    return out == path ? "must not be the root directory" : NULL;
}

static int parse_target(const cJSON *json, struct static_volume *v, struct error *e)
{
    const char *fault;
    int r = read_path(json, &FIELD(NULL, ""), "target", &v->target, e);

    if (r < 0)
        return r;
    if (v->target == NULL)
        return error_set(e, -EINVAL, "target: required field is missing");
    fault = normalize_target(v->target);
    if (fault != NULL)
        return error_set(e, -EINVAL, "target: %s", fault);
    return 0;
}

/* ---- the source */

static int parse_namespace(const cJSON *json, struct static_volume *v, struct error *e)
{
    int r = read_text(json, &FIELD(NULL, ""), "namespace", &v->namespace, e);

    if (r < 0 || v->namespace == NULL || object_namespace_is_valid(v->namespace))
        return r;
    return error_set(e, -EINVAL, "namespace: invalid namespace \"%.64s\"", v->namespace);
}

static int parse_source(const cJSON *json, struct static_volume *v, struct error *e)
{
    const struct field field = FIELD(NULL, "source");
    const cJSON *source = field_member(json, "source");
    int r;

    if (source == NULL)
        return 0;
    r = field_check_members(source, &field, "kubeconfig, context, manifests", e);
    if (r == 0)
        r = read_path(source, &field, "kubeconfig", &v->kubeconfig, e);
    if (r == 0)
        r = read_text(source, &field, "context", &v->context, e);
    if (r == 0)
        r = read_path(source, &field, "manifests", &v->manifests, e);
    if (r < 0)
        return r;
    if (v->manifests != NULL && (v->kubeconfig != NULL || v->context != NULL))
        return error_set(e, -EINVAL,
                         "source.manifests: must not be set with kubeconfig or context: objects "
                         "come either from a directory or from an API server");
    return 0;
}

/* ---- the owner */

static int find_user(const char *name, unsigned *ret_id)
{
    char buffer[NAME_BUFFER_BYTES];
    struct passwd entry, *found = NULL;
    int r = getpwnam_r(name, &entry, buffer, sizeof(buffer), &found);

    if (found == NULL)
        return r > 0 ? -r : -ENOENT;
    *ret_id = found->pw_uid;
    return 0;
}

static int find_group(const char *name, unsigned *ret_id)
{
    char buffer[NAME_BUFFER_BYTES];
    struct group entry, *found = NULL;
    int r = getgrnam_r(name, &entry, buffer, sizeof(buffer), &found);

    if (found == NULL)
        return r > 0 ? -r : -ENOENT;
    *ret_id = found->gr_gid;
    return 0;
}

/* A name or a number. */
static int parse_id(const cJSON *owner, const char *name,
                    int (*find)(const char *name, unsigned *ret_id), unsigned *id, struct error *e)
{
    const cJSON *member = field_member(owner, name);
    int r;

    if (member == NULL)
        return 0;
    if (*id != VOLUME_ID_UNSET)
        return error_set(e, -EINVAL, "owner.%s: already set by volume.secretfs", name);
    if (cJSON_IsNumber(member)) {
        double number = member->valuedouble;

        if (!(number >= 0 && number < UINT_MAX) || number != (double)(unsigned)number)
            return error_set(e, -EINVAL, "owner.%s: invalid %s id", name, name);
        *id = (unsigned)number;
        return 0;
    }
    if (!cJSON_IsString(member))
        return error_set(e, -EINVAL, "owner.%s: expected a name or a number", name);
    if (volume_id_parse(member->valuestring, id, NULL) == 0)
        return 0;
    r = find(member->valuestring, id);
    if (r == -ENOENT)
        return error_set(e, -EINVAL, "owner.%s: unknown %s \"%.64s\" on this host", name, name,
                         member->valuestring);
    return r < 0 ? error_set_errno(e, r, "owner.%s: cannot look up \"%.64s\"", name,
                                   member->valuestring)
                 : 0;
}

static int parse_owner(const cJSON *json, struct static_volume *v, struct error *e)
{
    const cJSON *owner = field_member(json, "owner");
    int r;

    if (owner == NULL)
        return 0;
    r = field_check_members(owner, &FIELD(NULL, "owner"), "user, group", e);
    if (r == 0)
        r = parse_id(owner, "user", find_user, &v->spec->uid, e);
    return r < 0 ? r : parse_id(owner, "group", find_group, &v->spec->gid, e);
}

/* ---- after updates */

static int parse_on_update(const cJSON *json, struct static_volume *v, struct error *e)
{
    int r = read_text(json, &FIELD(NULL, ""), "onUpdate", &v->on_update, e);

    if (r == 0 && v->on_update != NULL)
        r = update_action_parse(v->on_update, &v->action, e);
    return r < 0 ? error_prefix(e, r, "onUpdate") : 0;
}

/* ---- the file */

static int parse_volume(const cJSON *json, struct static_volume *v, struct error *e)
{
    const cJSON *volume = field_member(json, "volume");

    if (volume == NULL)
        return error_set(e, -EINVAL, "volume: required field is missing");
    return volume_spec_parse_entry(volume, "volume", &v->spec, e);
}

static int parse_document(const cJSON *json, struct static_volume *v, struct error *e)
{
    int r;

    if (!cJSON_IsObject(json))
        return error_set(e, -EINVAL, "expected a mapping with target and volume");
    r = field_check_members(json, &FIELD(NULL, ""),
                            "target, namespace, source, owner, onUpdate, volume", e);
    if (r == 0)
        r = parse_target(json, v, e);
    if (r == 0)
        r = parse_namespace(json, v, e);
    if (r == 0)
        r = parse_source(json, v, e);
    if (r == 0)
        r = parse_on_update(json, v, e);
    if (r == 0)
        r = parse_volume(json, v, e);
    if (r < 0)
        return r;
    assert(v->spec != NULL);
    return parse_owner(json, v, e);
}

int static_volume_parse(const char *file_name, const char *text, size_t len,
                        struct static_volume **ret_volume, struct error *e)
{
    _cleanup_(static_volume_unrefp) struct static_volume *v = calloc(1, sizeof(*v));
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    const char *suffix = strrchr(file_name, '.');
    int r;

    if (v == NULL)
        return no_memory(e);
    v->n_refs = 1;
    v->name = strndup(file_name, suffix != NULL ? (size_t)(suffix - file_name) : SIZE_MAX);
    v->text = strndup(text, len);
    if (v->name == NULL || v->text == NULL)
        return no_memory(e);
    r = yaml_parse_one(text, len, &json, e);
    if (r == 0)
        r = parse_document(json, v, e);
    if (r == 0)
        *ret_volume = TAKE(v);
    return r;
}

struct static_volume *static_volume_ref(struct static_volume *volume)
{
    assert(volume->n_refs > 0);
    volume->n_refs++;
    return volume;
}

struct static_volume *static_volume_unref(struct static_volume *volume)
{
    if (volume == NULL)
        return NULL;
    assert(volume->n_refs > 0);
    if (--volume->n_refs > 0)
        return NULL;
    free(volume->name);
    free(volume->text);
    free(volume->target);
    free(volume->namespace);
    free(volume->kubeconfig);
    free(volume->context);
    free(volume->manifests);
    free(volume->on_update);
    volume_spec_free(volume->spec);
    free(volume);
    return NULL;
}
