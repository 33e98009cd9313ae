/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/api_server.h"

#include "base/log.h"
#include "fetcher/api/server_version.h"

/* A server may be upgraded; usual lists cost little meanwhile. */
#define ASK_VERSION_AGAIN SPAN_SEC(600)
#define VERSION_LIMIT     SPAN_SEC(30)

/* ---- the version */

static void version_on_response(void *userdata, const struct http_response *response)
{
    struct api_server *server = userdata;

    server->version_status = response->status;
    server->version_len = 0;
}

/* What is too long is cut, and then no valid JSON. */
static void version_on_body(void *userdata, const char *bytes, size_t len)
{
    struct api_server *server = userdata;

    len = size_min(len, sizeof(server->version) - server->version_len);
    memcpy(server->version + server->version_len, bytes, len);
    server->version_len += len;
}

static void version_on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct api_server *server = userdata;

    server->request = http_request_free(server->request);
    server->streams_lists = outcome == HTTP_COMPLETE && server->version_status == 200 &&
                            server_version_streams_lists(server->version, server->version_len);
    log_debug("API server's version", "server", server->config->server, "streams lists",
              server->streams_lists ? "yes" : "no", "error", error != NULL ? error->text : NULL);
}

static void ask_version(struct api_server *server)
{
    static const struct http_handler handler = {version_on_response, version_on_body,
                                                version_on_done};
    const struct http_call call = {.path = "/version",
                                   .total_limit = VERSION_LIMIT,
                                   .credentials = credentials_peek(server->credentials)};
    struct error e = ERROR_INIT;

    if (server->request != NULL || call.credentials == NULL ||
        clock_mono() < server->ask_version_at)
        return;
    server->ask_version_at = clock_mono() + ASK_VERSION_AGAIN;
    server->version_status = 0;
    if (http_client_send(server->client, &call, &handler, server, &server->request, &e) < 0)
        log_debug("cannot ask for the API server's version", "error", e.text);
}

void api_server_stream_lists(struct api_server *server)
{
    server->asks_version = true;
    ask_version(server);
}

bool api_server_streams_lists(struct api_server *server)
{
    if (server->asks_version && !server->streams_lists)
        ask_version(server);
    return server->streams_lists;
}

void api_server_reject_streams(struct api_server *server)
{
    log_debug("API server does not stream lists: using usual ones", "server",
              server->config->server);
    server->streams_lists = false;
    server->ask_version_at = clock_mono() + ASK_VERSION_AGAIN;
}

/* ---- the server */

static void server_on_credentials(void *userdata, const struct error *error)
{
    struct api_server *server = userdata;
    struct api_server_user *user;

    log_debug("credentials changed", "error", error != NULL ? error->text : NULL);
    if (server->asks_version && !server->streams_lists)
        ask_version(server);
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
    http_request_free(server->request);
    credentials_free(server->credentials);
    http_client_free(server->client);
    api_config_free(server->config);
    sd_event_unref(server->event);
    free(server);
    return NULL;
}
