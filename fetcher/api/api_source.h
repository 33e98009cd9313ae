/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A source of objects from a Kubernetes API server: a reflector for each key. Any number of
 * sources, each with a store and an identity of its own, can use one api_server.
 */
#include "fetcher/api/api_server.h"
#include "fetcher/source.h"

/*
 * A source with the configuration's credentials.
 * @store: borrowed, outlives the source
 * @config_consumed: the server's address and credentials; owned from the call on
 * Return: 0, *ret_source is the caller's, who frees it after the last key was unwatched, not from
 * within a call of the store; the errors of api_server_new(), with @e.
 */
int api_source_new(sd_event *event, struct store *store, struct api_config *config_consumed,
                   struct source **ret_source, struct error *e);

/* As above, with a server that other sources may use. @server: the source takes a reference. */
int api_source_new_on(struct api_server *server, struct store *store, struct source **ret_source,
                      struct error *e);

/*
 * A source with a bearer token, which the caller gets and renews. Until it has one, and after the
 * API server refused one, its keys are reported as failing and wait for api_source_set_token().
 * @server: of a configuration without a user's credentials: see api_config_dup_anonymous()
 * @token:  copied; NULL: none yet
 * Return: as api_source_new_on(); -EINVAL with @e for an invalid token.
 */
int api_source_new_with_token(struct api_server *server, struct store *store, const char *token,
                              struct source **ret_source, struct error *e);

/*
 * The next requests are made with this token; those under way go on. Requests that wait for a token
 * are retried, also if it is the same one.
 * @source: of api_source_new_with_token()
 * @token:  copied, the old copy is wiped
 * Return: 0; -EINVAL for an invalid token and -ENOMEM, both with @e: the old one stays.
 */
int api_source_set_token(struct source *source, const char *token, struct error *e);

/*
 * The API server answered 401 to a request of api_source_send() at credentials @version, from
 * api_source_credentials_version(): as credentials_rejected(). A source with a token waits for the
 * next one.
 */
unsigned api_source_credentials_version(const struct source *source);
void api_source_reject_credentials(struct source *source, unsigned version);

/*
 * Send a request of another kind with the source's credentials, such as a review or an event.
 * @source: an API source
 * @call:   without credentials
 * Return: as http_client_send(), freed before the source; -EAGAIN with @e if there are no
 * credentials yet.
 */
int api_source_send(struct source *source, const struct http_call *call,
                    const struct http_handler *handler, void *userdata,
                    struct http_request **ret_request, struct error *e);
