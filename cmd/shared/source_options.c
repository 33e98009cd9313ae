/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/source_options.h"

#include <stdio.h>

#include "fetcher/api/api_source.h"
#include "fetcher/auth/kubeconfig.h"
#include "fetcher/manifests/manifests.h"

static int absolute_path(const char *path, char **ret_path)
{
    _cleanup_(freep) char *cwd = NULL;

    if (*path == '/') {
        *ret_path = strdup(path);
        return *ret_path != NULL ? 0 : -ENOMEM;
    }
    cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        return negative_errno();
    return asprintf(ret_path, "%s/%s", cwd, path) < 0 ? -ENOMEM : 0;
}

static int set_manifests(struct source_options *o, const char *path, struct error *e)
{
    char *manifests = NULL;
    int r = absolute_path(path, &manifests);

    if (r < 0)
        return error_set_errno(e, r, "cannot use --manifests %s", path);
    free(o->manifests);
    o->manifests = manifests;
    return 0;
}

int source_options_set(struct source_options *o, int option, const char *value, struct error *e)
{
    int r;

    switch (option) {
    case SOURCE_OPTION_NAMESPACE:
        o->namespace = value;
        return object_namespace_is_valid(value)
                   ? 0
                   : error_set(e, -EINVAL, "invalid namespace \"%.64s\"", value);
    case SOURCE_OPTION_KUBECONFIG:
        o->kubeconfig = value;
        return 0;
    case SOURCE_OPTION_CONTEXT:
        o->context = value;
        return 0;
    case SOURCE_OPTION_MANIFESTS:
        return set_manifests(o, value, e);
    case SOURCE_OPTION_WAIT:
        return clock_parse_duration(value, &o->wait, e);
    case SOURCE_OPTION_LOG_LEVEL:
        return log_level_parse("--log-level", value, &o->log_level, e);
    case SOURCE_OPTION_LOG_FORMAT:
        return log_format_parse("--log-format", value, &o->log_format, e);
    case SOURCE_OPTION_TRACE:
        r = log_trace_parse(value, &o->trace, e);
        return r < 0 ? error_prefix(e, r, "--trace") : 0;
    default:
        return error_set(e, -EINVAL, "unknown option");
    }
}

int source_options_check(const struct source_options *o, struct error *e)
{
    if (o->manifests != NULL && (o->kubeconfig != NULL || o->context != NULL))
        return error_set(e, -EINVAL,
                         "--manifests cannot be combined with --kubeconfig or --context: objects "
                         "come either from a directory or from an API server");
    return 0;
}

void source_options_deinit(struct source_options *o)
{
    free(o->manifests);
    o->manifests = NULL;
}

/* The option has priority over the context, and the context over "default". */
static char *choose_namespace(const struct source_options *o, const struct api_config *config)
{
    if (o->namespace != NULL)
        return strdup(o->namespace);
    if (config != NULL && config->namespace != NULL)
        return strdup(config->namespace);
    return strdup("default");
}

int source_options_open(const struct source_options *o, sd_event *event, struct store *store,
                        struct source **ret_source, char **ret_namespace, struct error *e)
{
    const struct kubeconfig_options kubeconfig = {.file = o->kubeconfig, .context = o->context};
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    _cleanup_(freep) char *chosen = NULL;
    int r;

    if (o->manifests == NULL) {
        r = kubeconfig_load(&kubeconfig, &config, e);
        if (r < 0)
            return r;
    }
    if (config != NULL && config->withholds_credentials)
        log_warn("credentials are not sent over plain http; name an https:// server", "server",
                 config->server, "configuration", config->origin);
    chosen = choose_namespace(o, config);
    if (chosen == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the source");
    r = o->manifests != NULL
            ? manifest_source_new(event, store, o->manifests, chosen, ret_source, e)
            : api_source_new(event, store, TAKE(config), ret_source, e);
    if (r < 0)
        return r;
    store_set_source(store, &(*ret_source)->ops->store, *ret_source);
    *ret_namespace = TAKE(chosen);
    return 0;
}
