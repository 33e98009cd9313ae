/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/api_server.h"

#include "base/log.h"

static void server_on_credentials(void *userdata, const struct error *error)
{
    struct api_server *server = userdata;
    struct api_server_user *user;

    log_debug("credentials changed", "error", error != NULL ? error->text : NULL);
    list_for_each (user, &server->users, link)
        user->on_credentials(user, error);
}

int api_server_new(sd_event *event, struct api_config *config_consumed,
                   struct api_server **ret_server, struct error *e)
{
    _cleanup_(api_config_freep) struct api_config *config = config_consumed;
    _cleanup_(api_server_unrefp) struct api_server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare for %s", config->server);
    server->n_refs = 1;
    server->event = sd_event_ref(event);
    server->config = TAKE(config);
    list_init(&server->users);
    r = http_client_new(event, server->config, &server->client, e);
    if (r >= 0)
        r = credentials_new(event, server->config, server_on_credentials, server,
                            &server->credentials, e);
    if (r < 0)
        return r;
    *ret_server = TAKE(server);
    return 0;
}

void api_server_set_rate_limit(struct api_server *server, unsigned per_sec, unsigned burst)
{
    http_client_set_rate_limit(server->client, per_sec, burst);
}

struct api_server *api_server_ref(struct api_server *server)
{
    server->n_refs++;
    return server;
}

struct api_server *api_server_unref(struct api_server *server)
{
    if (server == NULL || --server->n_refs > 0)
        return NULL;
    assert(list_is_empty(&server->users));
    credentials_free(server->credentials);
    http_client_free(server->client);
    api_config_free(server->config);
    sd_event_unref(server->event);
    free(server);
    return NULL;
}
