/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The API server with the daemon's own credentials, for what concerns pods: those of the kubelet, a
 * kubeconfig or a service account.
 *
 * Thread: the event loop's.
 */
#include "node/exchange.h"

/* Outlives its users. */
struct node_api {
    const struct exchange_calls *calls;
    /*
     * Open the source with these credentials; called again after a failure.
     * Return: 0, *ret_source is borrowed and outlives the users; -EOPNOTSUPP when there never is an
     * API server; -errno; with @e.
     */
    int (*open)(void *userdata, struct source **ret_source, struct error *e);
    void *userdata;
    struct source *source; /* NULL until it is open */
};

/* Open the source, unless it is open. Return: as open(). */
int node_api_open(struct node_api *api, struct error *e) MUST_CHECK;

/* Open the source, and send a request. Return: the errors of open() and exchange_send(). */
int node_api_send(struct node_api *api, struct exchange *x, const struct http_call *call,
                  struct error *e) MUST_CHECK;
