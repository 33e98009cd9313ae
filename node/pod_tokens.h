/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Tokens of pods' service accounts, for serviceAccountToken sources: requests them and replaces
 * them in time. See pod_tokens.c.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "node/api.h"

struct pod_tokens;

/*
 * @store: receives the tokens; outlives the object
 * @api: with the credentials that request them
 * Return: 0, *ret_tokens is the caller's; -ENOMEM.
 */
int pod_tokens_new(sd_event *event, struct store *store, struct node_api *api,
                   struct pod_tokens **ret_tokens);
/* All keys must be unwatched. NULL is fine. Return: NULL. */
struct pod_tokens *pod_tokens_free(struct pod_tokens *tokens);
DEFINE_CLEANUP(struct pod_tokens *, pod_tokens_free)

/*
 * For the store's source; keys of kind OBJECT_SERVICE_ACCOUNT_TOKEN.
 * Return: 0; -EINVAL or -ENOMEM with @e.
 */
int pod_tokens_watch(struct pod_tokens *tokens, const struct object_key *key, struct error *e);
void pod_tokens_unwatch(struct pod_tokens *tokens, const struct object_key *key);
