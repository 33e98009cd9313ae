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

    /* for api_server_streams_lists() */
    bool asks_version;            /* api_server_stream_lists() was called */
    bool streams_lists;           /* as far as known */
    mono_us ask_version_at;       /* not before; 0: at once */
    struct http_request *request; /* for the version; NULL: none */
    char version[4096];           /* of the response; a usual one has 400 bytes */
    size_t version_len;
    int version_status;
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

/*
 * Let its sources request streamed lists if the server has them. This costs a request for its
 * version, so it is for many objects. Without a call of it they use lists.
 */
void api_server_stream_lists(struct api_server *server);
/*
 * Whether it streams lists; false until its version is known, which a call requests when that is
 * due: at first, and every ten minutes of a server that does not.
 */
bool api_server_streams_lists(struct api_server *server);
/* It refused a streamed list, or did not finish it. */
void api_server_reject_streams(struct api_server *server);

struct api_server *api_server_ref(struct api_server *server);
/* All its requests must be freed before the last reference. Return: NULL; NULL is fine. */
struct api_server *api_server_unref(struct api_server *server);
DEFINE_CLEANUP(struct api_server *, api_server_unref)
