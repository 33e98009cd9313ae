/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files are merged by name: of two contexts, clusters or users with the same name the one in the
 * earlier file is used as a whole, and the later one ignored; current-context is that of the first
 * file that has one. A relative path is relative to the directory of its file.
 *
 * What client-go accepts and this refuses:
 *  - auth-provider, which client-go has dropped, too, and as-user-extra;
 *  - exec plug-ins with interactiveMode Always, as a daemon has no terminal;
 *  - a server without a scheme, unless there are TLS settings beside it. With these kubectl
 *    assumes https:// as well, but without them it connects in plain text, which a missing scheme
 *    should not cause. An explicit http:// is allowed, as development servers have it; as in
 *    client-go no credentials are sent over it.
 * Mistyped values are errors, unknown members are not, as in client-go.
 */
#include "fetcher/auth/kubeconfig_parse.h"

#include <stdio.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/fields.h"

#define MAX_LISTED     200 /* bytes of names in "available: ..." */
#define EXEC_EXTENSION "client.authentication.k8s.io/exec"

/* A document after parsing. */
struct document {
    const char *path; /* borrowed */
    cJSON *json;
};

struct merged {
    struct document *documents;
    size_t n;
};

static void merged_deinit(struct merged *m)
{
    for (size_t i = 0; i < m->n; i++)
        cJSON_Delete(m->documents[i].json);
    free(m->documents);
}

/* One named entry, or a part of it, and its file. */
struct entry {
    const struct document *document;
    const cJSON *body;
};

/* The three lists of a kubeconfig. */
struct section {
    const char *list;   /* the list's name */
    const char *member; /* of an entry, with its body; also the name of one entry */
};

static const struct section contexts = {"contexts", "context"};
static const struct section clusters = {"clusters", "cluster"};
static const struct section users = {"users", "user"};

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the configuration");
}

static const struct field context_fields[] = {
    {"namespace", FIELD_LINE, offsetof(struct api_config, namespace)},
};

static const struct field cluster_fields[] = {
    {"server", FIELD_LINE, offsetof(struct api_config, server)},
    {"tls-server-name", FIELD_LINE, offsetof(struct api_config, tls_server_name)},
    {"proxy-url", FIELD_LINE, offsetof(struct api_config, proxy_url)},
    {"insecure-skip-tls-verify", FIELD_FLAG, offsetof(struct api_config, insecure_skip_tls_verify)},
    {"certificate-authority", FIELD_PATH, offsetof(struct api_config, certificate_authority.file)},
    {"certificate-authority-data", FIELD_DATA,
     offsetof(struct api_config, certificate_authority.data)},
};

static const struct field user_fields[] = {
    {"client-certificate", FIELD_PATH, offsetof(struct api_config, client_certificate.file)},
    {"client-certificate-data", FIELD_DATA, offsetof(struct api_config, client_certificate.data)},
    {"client-key", FIELD_PATH, offsetof(struct api_config, client_key.file)},
    {"client-key-data", FIELD_DATA, offsetof(struct api_config, client_key.data)},
    {"token", FIELD_LINE, offsetof(struct api_config, token)},
    {"tokenFile", FIELD_PATH, offsetof(struct api_config, token_file)},
    {"username", FIELD_LINE, offsetof(struct api_config, username)},
    {"password", FIELD_TEXT, offsetof(struct api_config, password)},
    {"as", FIELD_LINE, offsetof(struct api_config, impersonate_user)},
    {"as-uid", FIELD_LINE, offsetof(struct api_config, impersonate_uid)},
    {"as-groups", FIELD_LINES, offsetof(struct api_config, impersonate_groups)},
};

static const struct field exec_fields[] = {
    {"apiVersion", FIELD_LINE, offsetof(struct exec_plugin, api_version)},
    {"command", FIELD_COMMAND, offsetof(struct exec_plugin, command)},
    {"args", FIELD_TEXTS, offsetof(struct exec_plugin, args)},
    {"installHint", FIELD_TEXT, offsetof(struct exec_plugin, install_hint)},
    {"provideClusterInfo", FIELD_FLAG, offsetof(struct exec_plugin, provide_cluster_info)},
};

/* ---- documents and their entries */

/* A list may be missing or null; a name must be a string, not a number. */
static int section_check(const struct document *document, const struct section *section,
                         struct error *e)
{
    const cJSON *list = json_member(document->json, section->list), *item;

    if (list == NULL || cJSON_IsNull(list))
        return 0;
    if (!cJSON_IsArray(list))
        return error_set(e, -EINVAL, "%s is not a list", section->list);
    cJSON_ArrayForEach (item, list) {
        const cJSON *name = json_member(item, "name");

        if (name != NULL && !cJSON_IsString(name))
            return error_set(e, -EINVAL,
                             "a name in %s is not a string: put it between quotation marks",
                             section->list);
    }
    return 0;
}

static int document_check(const struct document *document, struct error *e)
{
    const char *kind = json_text(document->json, "kind");
    int r;

    if (cJSON_IsNull(document->json))
        return 0;
    if (!cJSON_IsObject(document->json) || (kind != NULL && !streq(kind, "Config")))
        return error_set(e, -EINVAL, "not a kubeconfig file");
    r = section_check(document, &contexts, e);
    if (r >= 0)
        r = section_check(document, &clusters, e);
    if (r >= 0)
        r = section_check(document, &users, e);
    return r;
}

static int merged_parse(const struct kubeconfig_document *documents, size_t n,
                        struct merged *ret_merged, struct error *e)
{
    ret_merged->documents = calloc(n, sizeof(*ret_merged->documents));
    if (ret_merged->documents == NULL)
        return out_of_memory(e);
    for (size_t i = 0; i < n; i++) {
        struct document *document = &ret_merged->documents[i];
        int r = yaml_parse_verbatim(documents[i].text, documents[i].len, &document->json, e);

        if (r < 0)
            return error_prefix(e, r, "cannot read %s", documents[i].path);
        document->path = documents[i].path;
        ret_merged->n = i + 1;
        r = document_check(document, e);
        if (r < 0)
            return error_prefix(e, r, "cannot read %s", documents[i].path);
    }
    return 0;
}

static bool merged_is_empty(const struct merged *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const cJSON *json = m->documents[i].json;
        const char *current = json_text(json, "current-context");

        if (cJSON_GetArraySize(json_member(json, contexts.list)) > 0 ||
            cJSON_GetArraySize(json_member(json, clusters.list)) > 0 ||
            cJSON_GetArraySize(json_member(json, users.list)) > 0 ||
            (current != NULL && current[0] != '\0'))
            return false;
    }
    return true;
}

/* Return: 0; -ENOENT, with @e untouched; -EINVAL with @e for a duplicate name. */
static int document_find(const struct document *document, const struct section *section,
                         const char *name, struct entry *ret_entry, struct error *e)
{
    const cJSON *list = json_member(document->json, section->list), *item, *found = NULL;

    cJSON_ArrayForEach (item, list) {
        const char *item_name = json_text(item, "name");

        if (item_name == NULL || !streq(item_name, name))
            continue;
        if (found != NULL)
            return error_set(e, -EINVAL, "%s has two entries named \"%.100s\" in %s: remove one",
                             document->path, name, section->list);
        found = item;
    }
    if (found == NULL)
        return -ENOENT;
    *ret_entry = (struct entry){.document = document, .body = json_member(found, section->member)};
    return 0;
}

static int merged_find(const struct merged *m, const struct section *section, const char *name,
                       struct entry *ret_entry, struct error *e)
{
    int r = -ENOENT;

    for (size_t i = 0; i < m->n && r == -ENOENT; i++)
        r = document_find(&m->documents[i], section, name, ret_entry, e);
    return r;
}

/* "a, b, c" for messages; "none" for an empty list, "..." at the end of a long one. */
static const char *merged_list(const struct merged *m, const struct section *section,
                               char buf[static MAX_LISTED + 8])
{
    size_t len = 0;

    snprintf(buf, MAX_LISTED + 8, "none");
    for (size_t i = 0; i < m->n; i++) {
        const cJSON *item;

        cJSON_ArrayForEach (item, json_member(m->documents[i].json, section->list)) {
            const char *name = json_text(item, "name"), *comma = len > 0 ? ", " : "";

            if (name == NULL)
                continue;
            if (len + strlen(name) + 2 > MAX_LISTED) {
                snprintf(buf + len, MAX_LISTED + 8 - len, "%s...", comma);
                return buf;
            }
            len += (size_t)snprintf(buf + len, MAX_LISTED + 8 - len, "%s%s", comma, name);
        }
    }
    return buf;
}

static int read_entry(const struct entry *entry, const struct field *fields, size_t n, void *base,
                      struct error *e)
{
    return fields_read(entry->body, entry->document->path, fields, n, base, e);
}

/* ---- clusters */

static int read_cluster(const struct entry *cluster, struct api_config *config, struct error *e)
{
    int r = read_entry(cluster, cluster_fields, ELEMENTS_OF(cluster_fields), config, e);

    if (r < 0)
        return r;
    if (config->server == NULL)
        return error_set(e, -EINVAL, "it has no server: add one, such as https://HOST:6443");
    if (config->insecure_skip_tls_verify &&
        (config->certificate_authority.data != NULL || config->certificate_authority.file != NULL))
        return error_set(e, -EINVAL,
                         "insecure-skip-tls-verify and a certificate-authority contradict each "
                         "other: remove one");
    return api_config_check_proxy(config, e);
}

/* ---- users */

static bool has_members(const cJSON *value)
{
    return value != NULL && value->child != NULL;
}

static int read_exec_env(const cJSON *list, struct exec_plugin *exec, struct error *e)
{
    size_t n = 0;
    const cJSON *item;

    if (list == NULL || cJSON_IsNull(list))
        return 0;
    if (!cJSON_IsArray(list))
        return error_set(e, -EINVAL, "exec.env is not a list");
    exec->env = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*exec->env));
    if (exec->env == NULL)
        return out_of_memory(e);
    cJSON_ArrayForEach (item, list) {
        const char *name = json_text(item, "name"), *value = json_text(item, "value");

        if (name == NULL || name[0] == '\0' || strchr(name, '=') != NULL ||
            (value == NULL && json_member(item, "value") != NULL))
            return error_set(e, -EINVAL,
                             "exec.env is not a list of names and values that are strings");
        exec->env[n] = text_format("%s=%s", name, value != NULL ? value : "");
        if (exec->env[n++] == NULL)
            return out_of_memory(e);
    }
    return 0;
}

/* v1 has no default for interactiveMode; the versions before it have IfAvailable. */
static int check_interactive_mode(const char *mode, const char *version, struct error *e)
{
    if (mode == NULL || mode[0] == '\0')
        return !streq(version, "v1")
                   ? 0
                   : error_set(e, -EINVAL,
                               "exec has no interactiveMode, which client.authentication.k8s.io/v1 "
                               "requires: add Never or IfAvailable");
    if (streq(mode, "Always"))
        return error_set(e, -EINVAL,
                         "exec.interactiveMode is Always, but a daemon has no terminal: use a "
                         "plug-in that works without one and set IfAvailable or Never");
    if (!streq(mode, "IfAvailable") && !streq(mode, "Never"))
        return error_set(e, -EINVAL,
                         "exec.interactiveMode \"%.64s\" is none of Never, IfAvailable and Always",
                         mode);
    return 0;
}

static int check_exec(const struct exec_plugin *exec, const cJSON *body, struct error *e)
{
    static const char *const versions[] = {"v1", "v1beta1", "v1alpha1"};
    const char *mode = json_text(body, "interactiveMode");
    const char *version = exec->api_version != NULL
                              ? str_after(exec->api_version, "client.authentication.k8s.io/")
                              : NULL;
    bool is_known = false;

    if (exec->command == NULL)
        return error_set(e, -EINVAL, "exec has no command");
    for (size_t i = 0; i < ELEMENTS_OF(versions); i++)
        is_known |= version != NULL && streq(version, versions[i]);
    if (!is_known)
        return error_set(
            e, -EINVAL,
            "exec.apiVersion \"%.64s\" is not known: use client.authentication.k8s.io/v1",
            exec->api_version != NULL ? exec->api_version : "");
    return check_interactive_mode(mode, version, e);
}

static int read_exec(const struct entry *user, struct api_config *config, struct error *e)
{
    struct entry entry = {.document = user->document, .body = json_member(user->body, "exec")};
    int r;

    if (entry.body == NULL || cJSON_IsNull(entry.body))
        return 0;
    config->exec = calloc(1, sizeof(*config->exec));
    if (config->exec == NULL)
        return out_of_memory(e);
    r = read_entry(&entry, exec_fields, ELEMENTS_OF(exec_fields), config->exec, e);
    if (r < 0)
        return error_prefix(e, r, "exec");
    r = read_exec_env(json_member(entry.body, "env"), config->exec, e);
    if (r < 0)
        return r;
    return check_exec(config->exec, entry.body, e);
}

/* A cluster's configuration for a plug-in, besides its address, is an extension of the cluster. */
static int read_exec_extension(const struct entry *cluster, struct exec_plugin *exec,
                               struct error *e)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, json_member(cluster->body, "extensions")) {
        const char *name = json_text(item, "name");
        const cJSON *extension = json_member(item, "extension");

        if (name == NULL || !streq(name, EXEC_EXTENSION) || extension == NULL)
            continue;
        exec->cluster_config = cJSON_PrintUnformatted(extension);
        return exec->cluster_config != NULL ? 0 : out_of_memory(e);
    }
    return 0;
}

static int check_client_certificate(const struct api_config *config, struct error *e)
{
    bool has_cert =
        config->client_certificate.data != NULL || config->client_certificate.file != NULL;
    bool has_key = config->client_key.data != NULL || config->client_key.file != NULL;

    if (has_cert == has_key)
        return 0;
    return error_set(e, -EINVAL,
                     has_cert ? "client-certificate needs a client-key or client-key-data beside it"
                              : "client-key needs a client-certificate or client-certificate-data "
                                "beside it");
}

static int check_basic(const struct api_config *config, struct error *e)
{
    if (config->username == NULL && config->password == NULL)
        return 0;
    if (config->token != NULL || config->token_file != NULL)
        return error_set(e, -EINVAL, "a token and a username contradict each other: remove one");
    if (config->username == NULL || strchr(config->username, ':') != NULL)
        return error_set(e, -EINVAL, "a password needs a username, which has no colon in it");
    return 0;
}

static int read_user(const struct entry *user, struct api_config *config, struct error *e)
{
    int r = read_entry(user, user_fields, ELEMENTS_OF(user_fields), config, e);

    if (r < 0)
        return r;
    if (has_members(json_member(user->body, "auth-provider")))
        return error_set(e, -EINVAL,
                         "auth-provider is not supported, use exec with your provider's plug-in");
    if (has_members(json_member(user->body, "as-user-extra")))
        return error_set(e, -EINVAL, "as-user-extra is not supported, remove it");
    if (config->impersonate_user == NULL &&
        (config->impersonate_uid != NULL || config->impersonate_groups != NULL))
        return error_set(e, -EINVAL, "as-uid and as-groups need an \"as\" beside them");
    r = check_client_certificate(config, e);
    if (r < 0)
        return r;
    r = check_basic(config, e);
    if (r < 0)
        return r;
    return read_exec(user, config, e);
}

/* ---- following a context */

/* The current context, and the file that sets it. Return: borrowed name, or NULL. */
static const char *merged_current(const struct merged *m, const char **ret_path)
{
    for (size_t i = 0; i < m->n; i++) {
        const char *name = json_text(m->documents[i].json, "current-context");

        if (name != NULL && name[0] != '\0') {
            *ret_path = m->documents[i].path;
            return name;
        }
    }
    return NULL;
}

/* @context: NULL for the current one; on return the name that was used */
static int find_context(const struct merged *m, const char **context, struct entry *ret_entry,
                        struct error *e)
{
    const char *path = m->documents[0].path;
    bool is_current = *context == NULL;
    char names[MAX_LISTED + 8];
    int r;

    if (is_current)
        *context = merged_current(m, &path);
    if (*context == NULL)
        return error_set(e, -EINVAL,
                         "%s has no current-context: choose one with --context or `kubectl config "
                         "use-context`; available: %s",
                         path, merged_list(m, &contexts, names));
    r = merged_find(m, &contexts, *context, ret_entry, e);
    if (r == -ENOENT)
        return error_set(e, -EINVAL, "%s\"%.100s\" does not exist in %s%s; available: %s",
                         is_current ? "current-context " : "context ", *context, path,
                         m->n > 1 ? " or the files beside it" : "",
                         merged_list(m, &contexts, names));
    return r;
}

/* The entry that a context names. Return: 0; KUBECONFIG_EMPTY if it names none; -errno. */
static int find_named(const struct merged *m, const struct entry *context,
                      const struct section *section, struct entry *ret_entry, const char **ret_name,
                      struct error *e)
{
    const char *name = json_text(context->body, section->member);
    char names[MAX_LISTED + 8];
    int r;

    if (name == NULL || name[0] == '\0')
        return KUBECONFIG_EMPTY;
    *ret_name = name;
    r = merged_find(m, section, name, ret_entry, e);
    if (r == -ENOENT)
        return error_set(e, -EINVAL, "it names %s \"%.100s\", which does not exist; available: %s",
                         section->member, name, merged_list(m, section, names));
    return r;
}

static int resolve_cluster(const struct merged *m, const struct entry *context,
                           struct entry *ret_cluster, struct api_config *config, struct error *e)
{
    const char *name = NULL;
    int r = find_named(m, context, &clusters, ret_cluster, &name, e);

    if (r == KUBECONFIG_EMPTY)
        return error_set(e, -EINVAL, "it names no cluster");
    if (r < 0)
        return r;
    r = read_cluster(ret_cluster, config, e);
    if (r < 0)
        return error_prefix(e, r, "cluster \"%.100s\" in %s", name, ret_cluster->document->path);
    return 0;
}

static int resolve_user(const struct merged *m, const struct entry *context,
                        const struct entry *cluster, struct api_config *config, struct error *e)
{
    struct entry user = {.document = NULL};
    const char *name = NULL;
    int r = find_named(m, context, &users, &user, &name, e);

    if (r == KUBECONFIG_EMPTY) /* anonymous */
        return 0;
    if (r < 0)
        return r;
    r = read_user(&user, config, e);
    if (r >= 0 && config->exec != NULL)
        r = read_exec_extension(cluster, config->exec, e);
    if (r < 0)
        return error_prefix(e, r, "user \"%.100s\" in %s", name, user.document->path);
    config->user = text_format("user \"%.100s\" in %s", name, user.document->path);
    return config->user != NULL ? 0 : out_of_memory(e);
}

static int resolve_context(const struct merged *m, const struct entry *context,
                           struct api_config *config, struct error *e)
{
    struct entry cluster = {.document = NULL};
    int r = read_entry(context, context_fields, ELEMENTS_OF(context_fields), config, e);

    if (r < 0)
        return r;
    r = resolve_cluster(m, context, &cluster, config, e);
    if (r < 0)
        return r;
    r = resolve_user(m, context, &cluster, config, e);
    if (r < 0)
        return r;
    /* last, as TLS settings decide what a server without a scheme means */
    r = api_config_normalise_server(config, e);
    if (r < 0)
        return r;
    api_config_drop_unused_credentials(config);
    return 0;
}

int kubeconfig_parse(const struct kubeconfig_document *documents, size_t n, const char *context,
                     struct api_config **ret_config, struct error *e)
{
    _cleanup_(api_config_freep) struct api_config *config = calloc(1, sizeof(*config));
    _cleanup_(merged_deinit) struct merged merged = {0};
    struct entry entry = {.document = NULL};
    int r;

    assert(n > 0);
    if (config == NULL)
        return out_of_memory(e);
    r = merged_parse(documents, n, &merged, e);
    if (r < 0)
        return r;
    if (merged_is_empty(&merged))
        return KUBECONFIG_EMPTY;
    r = find_context(&merged, &context, &entry, e);
    if (r < 0)
        return r;
    assert(entry.document != NULL);
    config->origin = text_format("context \"%s\" in %s", context, entry.document->path);
    if (config->origin == NULL)
        return out_of_memory(e);
    r = resolve_context(&merged, &entry, config, e);
    if (r < 0)
        return error_prefix(e, r, "context \"%.100s\" in %s", context, entry.document->path);
    *ret_config = TAKE(config);
    return 0;
}
