/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search has client-go's order, and ends at the first of these that has a configuration:
 *
 *     --kubeconfig FILE     one file, which must exist
 *     $KUBECONFIG           a list of files; missing ones are skipped
 *     ~/.kube/config        only if $KUBECONFIG is not set
 *     in-cluster            a pod's service account
 *
 * An invalid file is an error and not skipped: another identity would not be what its author
 * expects. Files without a single entry count as missing, as KUBECONFIG=/dev/null does for kubectl.
 */
#include "fetcher/auth/kubeconfig.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file_access.h"
#include "base/file_read.h"
#include "fetcher/auth/kubeconfig_parse.h"
#include "fetcher/fields.h"

#define FILE_MAX_BYTES  (1u << 20) /* a hundred clusters with their certificates need half of it */
#define MAX_FILES       32u        /* of $KUBECONFIG; a file for each cluster is common */
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the configuration");
}

/* ---- finding the files */

struct files {
    struct kubeconfig_document documents[MAX_FILES]; /* with the arrays below as their strings */
    char *paths[MAX_FILES];
    struct buf texts[MAX_FILES];
    size_t n;
};

static void files_deinit(struct files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        free(files->paths[i]);
        buf_deinit(&files->texts[i]);
    }
}

static char *absolute_path(const char *path)
{
    _cleanup_(freep) char *here = NULL;

    if (path[0] == '/')
        return strdup(path);
    here = getcwd(NULL, 0);
    return here != NULL ? text_format("%s/%s", here, path) : NULL;
}

/* Return: 0, also for a path that was added before; -ENOENT for a missing file. */
static int files_add(struct files *files, const char *path, struct error *e)
{
    _cleanup_(freep) char *absolute = absolute_path(path);
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FILE_MAX_BYTES);
    int r;

    if (absolute == NULL)
        return out_of_memory(e);
    for (size_t i = 0; i < files->n; i++)
        if (streq(files->paths[i], absolute))
            return 0;
    if (files->n == MAX_FILES)
        return error_set(e, -E2BIG, "$KUBECONFIG names more than %u files", MAX_FILES);
    r = file_load(absolute, &text, e);
    if (r == -EFBIG)
        return error_set(e, r, "cannot read %s: a kubeconfig file may have up to 1 MiB", absolute);
    if (r < 0)
        return r;
    files->texts[files->n] = text;
    text = BUF_INIT(0);
    files->paths[files->n] = TAKE(absolute);
    files->documents[files->n] = (struct kubeconfig_document){
        .path = files->paths[files->n],
        .text = buf_text(&files->texts[files->n]),
        .len = files->texts[files->n].len,
    };
    files->n++;
    return 0;
}

static int files_add_if_exists(struct files *files, const char *path, struct error *e)
{
    int r = files_add(files, path, e);

    return r == -ENOENT ? 0 : r;
}

static int files_add_list(struct files *files, const char *list, struct error *e)
{
    _cleanup_(freep) char *copy = strdup(list);
    char *rest = copy;
    int r = 0;

    if (copy == NULL)
        return out_of_memory(e);
    while (rest != NULL && r >= 0) {
        const char *path = strsep(&rest, ":");

        if (path[0] != '\0')
            r = files_add_if_exists(files, path, e);
    }
    return r;
}

static const char *host_env(const struct kubeconfig_host *host, const char *name)
{
    const char *value = host->get_env(host->userdata, name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int files_find(struct files *files, const struct kubeconfig_options *options,
                      const struct kubeconfig_host *host, struct error *e)
{
    const char *list = host_env(host, "KUBECONFIG"), *home = host_env(host, "HOME");
    _cleanup_(freep) char *path = NULL;

    if (options->file != NULL)
        return files_add(files, options->file, e);
    if (list != NULL)
        return files_add_list(files, list, e);
    if (home == NULL)
        return 0;
    path = text_format("%s/.kube/config", home);
    return path != NULL ? files_add_if_exists(files, path, e) : out_of_memory(e);
}

/* ---- in-cluster */

/* No configuration exists. @reason: why this process is not in a pod */
static int not_configured(const struct kubeconfig_host *host, const char *reason, struct error *e)
{
    const char *list = host_env(host, "KUBECONFIG");

    return error_set(
        e, -ENOENT,
        "no API server is configured: there is no kubeconfig at %.200s%s, and this process is not "
        "in a pod (%.150s): name a file with --kubeconfig, or a directory with --manifests",
        list != NULL ? list : "~/.kube/config", list != NULL ? " ($KUBECONFIG)" : "", reason);
}

/* The service account's namespace. Return: 0, also if it has none; -ENOMEM. */
static int read_namespace(const struct kubeconfig_host *host, char **ret_namespace)
{
    _cleanup_(freep) char *path = text_format("%s/namespace", host->service_account_dir);
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(NAME_MAX);
    const char *namespace = host_env(host, "POD_NAMESPACE"); /* as in client-go */
    size_t len;

    if (path == NULL)
        return -ENOMEM;
    if (namespace == NULL) {
        int r = file_load(path, &text, NULL);

        if (r < 0)
            return r == -ENOMEM ? r : 0;
        namespace = buf_text(&text);
    }
    len = strcspn(namespace, " \t\r\n");
    if (len == 0)
        return 0;
    *ret_namespace = strndup(namespace, len);
    return *ret_namespace != NULL ? 0 : -ENOMEM;
}

static int in_cluster_server(const struct kubeconfig_host *host, struct api_config *config,
                             struct error *e)
{
    const char *address = host_env(host, "KUBERNETES_SERVICE_HOST");
    const char *port = host_env(host, "KUBERNETES_SERVICE_PORT");
    int r;

    if (address == NULL || port == NULL)
        return not_configured(host, "$KUBERNETES_SERVICE_HOST and PORT are not set", e);
    config->server = text_format(strchr(address, ':') != NULL ? "https://[%s]:%s" : "https://%s:%s",
                                 address, port);
    if (config->server == NULL)
        return out_of_memory(e);
    r = api_config_normalise_server(config, e);
    if (r < 0)
        return error_prefix(e, r, "$KUBERNETES_SERVICE_HOST and $KUBERNETES_SERVICE_PORT");
    return 0;
}

static bool is_file(const char *path)
{
    struct stat st;

    return file_access_stat(AT_FDCWD, path, 0, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* Source: client-go's rest.InClusterConfig(). */
static int in_cluster_config(const struct kubeconfig_host *host, struct api_config **ret_config,
                             struct error *e)
{
    _cleanup_(api_config_freep) struct api_config *config = calloc(1, sizeof(*config));
    struct pem_source *ca;
    int r;

    if (config == NULL)
        return out_of_memory(e);
    r = in_cluster_server(host, config, e);
    if (r < 0)
        return r;
    ca = &config->certificate_authority;
    config->origin = strdup("in-cluster service account");
    config->user = text_format("the service account in %s", host->service_account_dir);
    config->token_file = text_format("%s/token", host->service_account_dir);
    ca->file = text_format("%s/ca.crt", host->service_account_dir);
    if (config->origin == NULL || config->user == NULL || config->token_file == NULL ||
        ca->file == NULL || read_namespace(host, &config->namespace) < 0)
        return out_of_memory(e);
    if (!is_file(config->token_file))
        return not_configured(host, "its service account has no token file", e);
    if (!is_file(ca->file)) { /* then the system's authorities are used, as in client-go */
        free(ca->file);
        ca->file = NULL;
    }
    *ret_config = TAKE(config);
    return 0;
}

int kubeconfig_load_from(const struct kubeconfig_options *options,
                         const struct kubeconfig_host *host, struct api_config **ret_config,
                         struct error *e)
{
    _cleanup_(files_deinit) struct files files = {.n = 0};
    int r = files_find(&files, options, host, e);

    if (r < 0)
        return r;
    r = files.n == 0 ? KUBECONFIG_EMPTY
                     : kubeconfig_parse(files.documents, files.n, options->context, ret_config, e);
    if (r != KUBECONFIG_EMPTY)
        return r;
    if (options->file != NULL)
        return error_set(e, -EINVAL, "%s has no contexts, clusters or users in it",
                         files.documents[0].path);
    if (options->context != NULL)
        return error_set(
            e, -ENOENT,
            "context \"%.100s\" does not exist: no kubeconfig file was found, name one "
            "with --kubeconfig",
            options->context);
    return in_cluster_config(host, ret_config, e);
}

static const char *process_env(void *userdata, const char *name)
{
    return getenv(name);
}

int kubeconfig_load(const struct kubeconfig_options *options, struct api_config **ret_config,
                    struct error *e)
{
    static const struct kubeconfig_host host = {.get_env = process_env,
                                                .service_account_dir = SERVICE_ACCOUNT};

    return kubeconfig_load_from(options, &host, ret_config, e);
}
