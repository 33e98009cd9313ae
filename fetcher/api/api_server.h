/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the sources of one API server share: its address and certificates, the credentials of the
 * configuration, and one HTTP client, with its connections and its rate limit.
 *
 * Thread: the event loop's.
 */
#include "base/list.h"
#include "fetcher/auth/credentials.h"
#include "fetcher/http/client.h"

struct api_server {
    unsigned n_refs;
    sd_event *event;
    struct api_config *config;
    struct credentials *credentials;
    struct http_client *client;
    struct list users; /* of struct api_server_user */
};

/* A source that is notified of new credentials; embedded in it. */
struct api_server_user {
    struct list link;
    /* As credentials_changed_fn. May not leave the list of users. */
    void (*on_credentials)(struct api_server_user *user, const struct error *error);
};

/*
 * @config_consumed: the server's address and credentials; owned from the call on
 * Return: 0, *ret_server is the caller's reference; what http_client_new() and credentials_new()
 * return, with @e.
 */
int api_server_new(sd_event *event, struct api_config *config_consumed,
                   struct api_server **ret_server, struct error *e);

/* As http_client_set_rate_limit(), for all its sources together. */
void api_server_set_rate_limit(struct api_server *server, unsigned per_sec, unsigned burst);

struct api_server *api_server_ref(struct api_server *server);
/* All its requests must be freed before the last reference. Return: NULL; NULL is fine. */
struct api_server *api_server_unref(struct api_server *server);
DEFINE_CLEANUP(struct api_server *, api_server_unref)
