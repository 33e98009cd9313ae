/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/api_config.h"

#include <strings.h>

#include "fetcher/fields.h"

static void exec_plugin_free(struct exec_plugin *exec)
{
    if (exec == NULL)
        return;
    free(exec->api_version);
    free(exec->command);
    strings_free(exec->args);
    strings_free(exec->env);
    free(exec->install_hint);
    free(exec->cluster_config);
    free(exec);
}

static void pem_source_deinit(struct pem_source *pem)
{
    free(pem->data);
    free(pem->file);
}

struct api_config *api_config_free(struct api_config *config)
{
    if (config == NULL)
        return NULL;
    free(config->origin);
    free(config->user);
    free(config->server);
    free(config->tls_server_name);
    free(config->proxy_url);
    pem_source_deinit(&config->certificate_authority);
    pem_source_deinit(&config->client_certificate);
    pem_source_deinit(&config->client_key);
    free(config->token);
    free(config->token_file);
    free(config->username);
    free(config->password);
    exec_plugin_free(config->exec);
    free(config->impersonate_user);
    strings_free(config->impersonate_groups);
    free(config->impersonate_uid);
    free(config->namespace);
    free(config);
    return NULL;
}

bool api_config_is_encrypted(const struct api_config *config)
{
    return str_after(config->server, "https://") != NULL;
}

static void drop_exec(struct api_config *config)
{
    exec_plugin_free(config->exec);
    config->exec = NULL;
}

static void drop_text(char **text)
{
    free(*text);
    *text = NULL;
}

static void drop_pem(struct pem_source *pem)
{
    drop_text(&pem->data);
    drop_text(&pem->file);
}

void api_config_drop_unused_credentials(struct api_config *config)
{
    const struct pem_source *cert = &config->client_certificate;
    bool has_own = config->token != NULL || config->token_file != NULL ||
                   config->username != NULL || cert->data != NULL || cert->file != NULL;

    if (api_config_is_encrypted(config)) {
        if (has_own)
            drop_exec(config);
        return;
    }
    config->withholds_credentials = has_own || config->exec != NULL;
    drop_exec(config);
    drop_text(&config->token);
    drop_text(&config->token_file);
    drop_text(&config->username);
    drop_text(&config->password);
    drop_pem(&config->client_certificate);
    drop_pem(&config->client_key);
}

/* Return: whether there was memory for it; NULL is copied, too. */
static bool copy_text(char **ret_copy, const char *text)
{
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

struct api_config *api_config_dup_anonymous(const struct api_config *config)
{
    const struct pem_source *authority = &config->certificate_authority;
    _cleanup_(api_config_freep) struct api_config *dup = calloc(1, sizeof(*dup));

    if (dup == NULL)
        return NULL;
    dup->insecure_skip_tls_verify = config->insecure_skip_tls_verify;
    if (!copy_text(&dup->origin, config->origin) || !copy_text(&dup->server, config->server) ||
        !copy_text(&dup->tls_server_name, config->tls_server_name) ||
        !copy_text(&dup->proxy_url, config->proxy_url) ||
        !copy_text(&dup->certificate_authority.data, authority->data) ||
        !copy_text(&dup->certificate_authority.file, authority->file) ||
        !copy_text(&dup->namespace, config->namespace))
        return NULL;
    return TAKE(dup);
}

/* Return: what follows "SCHEME://" or NULL if @url does not begin with it. */
static const char *after_scheme(const char *url, const char *scheme)
{
    size_t len = strlen(scheme);

    return strncasecmp(url, scheme, len) == 0 ? str_after(url + len, "://") : NULL;
}

/* Whether the text is HOST[:PORT][/PATH] and nothing else. */
static bool is_plain_location(const char *text)
{
    size_t host_len = strcspn(text, "/");

    if (host_len == 0 || text[0] == ':' || memchr(text, '@', host_len) != NULL)
        return false;
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~' || strchr("?#\\", *text) != NULL)
            return false;
    return true;
}

int api_config_normalise_server(struct api_config *config, struct error *e)
{
    const struct pem_source *ca = &config->certificate_authority;
    const struct pem_source *cert = &config->client_certificate;
    bool is_tls = ca->data != NULL || ca->file != NULL || cert->data != NULL ||
                  cert->file != NULL || config->insecure_skip_tls_verify;
    const char *scheme = "https", *location = after_scheme(config->server, "https");
    char *server;
    int len;

    if (location == NULL) {
        location = after_scheme(config->server, "http");
        if (location != NULL)
            scheme = "http";
    }
    if (location == NULL && strstr(config->server, "://") == NULL && is_tls)
        location = config->server;
    if (location == NULL)
        return error_set(e, -EINVAL, "server \"%.100s\" does not begin with https:// or http://",
                         config->server);
    if (!is_plain_location(location))
        return error_set(e, -EINVAL, "server is not of the form https://HOST[:PORT][/PATH]");
    len = (int)strlen(location);
    while (len > 0 && location[len - 1] == '/')
        len--;
    server = text_format("%s://%.*s", scheme, len, location);
    if (server == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the configuration");
    free(config->server);
    config->server = server;
    return 0;
}

int api_config_check_proxy(const struct api_config *config, struct error *e)
{
    static const char *const schemes[] = {"http", "https", "socks5"};

    if (config->proxy_url == NULL)
        return 0;
    for (size_t i = 0; i < ELEMENTS_OF(schemes); i++) {
        const char *location = after_scheme(config->proxy_url, schemes[i]);

        if (location != NULL && location[0] != '\0' && location[0] != '/')
            return 0;
    }
    /* not quoted: a proxy's URL may contain a password */
    return error_set(
        e, -EINVAL,
        "proxy-url is not of the form SCHEME://HOST:PORT with one of the schemes http, "
        "https and socks5");
}
