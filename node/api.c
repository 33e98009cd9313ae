/* SPDX-License-Identifier: Apache-2.0 */
#include "node/api.h"

int node_api_open(struct node_api *api, struct error *e)
{
    return api->source == NULL ? api->open(api->userdata, &api->source, e) : 0;
}

int node_api_send(struct node_api *api, struct exchange *x, const struct http_call *call,
                  struct error *e)
{
    int r = node_api_open(api, e);

    return r == 0 ? exchange_send(x, api->source, call, e) : r;
}
