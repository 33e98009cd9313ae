/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The source that is a Kubernetes API server: a reflector per key. Any number of them, each with a
 * store and an identity of its own, can ask one api_server.
 */
#include "fetcher/api/api_server.h"
#include "fetcher/source.h"

/*
 * A source with the configuration's credentials.
 * @store: borrowed, outlives the source
 * @config_consumed: where the server is and who we are there; owned from the call on
 * Return: 0, *ret_source is the caller's and is to be freed after the last key was unwatched, not
 * from within a call of the store's; what api_server_new() returns, with @e.
 */
int api_source_new(sd_event *event, struct store *store, struct api_config *config_consumed,
                   struct source **ret_source, struct error *e);

/* As above, for a server that others use, too. @server: the source takes a reference. */
int api_source_new_on(struct api_server *server, struct store *store, struct source **ret_source,
                      struct error *e);

/*
 * A source that says who it is with a bearer token, which somebody else gets and renews. Until it
 * has one, and after the API server refused one, its keys are reported as failing and wait for
 * api_source_set_token().
 * @server: of a configuration without a user's credentials: see api_config_dup_anonymous()
 * @token:  copied; NULL if there is none yet
 * Return: as api_source_new_on(); -EINVAL with @e for what is no token.
 */
int api_source_new_with_token(struct api_server *server, struct store *store, const char *token,
                              struct source **ret_source, struct error *e);

/*
 * The next requests are made with this token; those under way are left alone, as the API server
 * does. The same token again lets those that wait for one try once more.
 * @source: of api_source_new_with_token()
 * @token:  copied, the old copy is wiped
 * Return: 0; -EINVAL for what is no token and -ENOMEM, both with @e: then the old one stays.
 */
int api_source_set_token(struct source *source, const char *token, struct error *e);

/*
 * The API server answered 401 to a request that api_source_send() made when api_source_version()
 * was @version: get other credentials, as credentials_rejected(). A source that takes tokens waits
 * for the next one.
 */
unsigned api_source_version(const struct source *source);
void api_source_rejected(struct source *source, unsigned version);

/*
 * Make a request of another kind as whoever the source is, such as a review or an event.
 * @source: one of these
 * @call:   its material is filled in
 * Return: as http_client_send(), to be freed before the source; -EAGAIN with @e when there are no
 * credentials yet.
 */
int api_source_send(struct source *source, const struct http_call *call,
                    const struct http_handler *handler, void *userdata,
                    struct http_request **ret_request, struct error *e);
