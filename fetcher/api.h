/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The source that is a Kubernetes API server: a reflector per key, one HTTP client for all. */
#include "fetcher/kubeconfig.h"
#include "fetcher/source.h"

/*
 * @store: borrowed, outlives the source
 * @config_consumed: where the server is and who we are there; owned from the call on
 * Return: 0, *ret_source is the caller's and is to be freed after the last key was unwatched; what
 * http_client_new() and credentials_new() return, with @e.
 */
int api_source_new(sd_event *event, struct store *store, struct api_config *config_consumed,
                   struct source **ret_source, struct error *e);
