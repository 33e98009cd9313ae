/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The HTTP pages of a node: /metrics, /healthz, /livez and /readyz; with `ui: on` /ui.
 *
 * Thread: the event loop's.
 */
#include "node/health.h"
#include "node/ui.h"

struct node_pages;

/* Borrowed; outlives the pages. */
struct node_pages_context {
    sd_event *event;
    const struct node_options *options; /* metrics_address: where to listen; serves_ui */
    struct node_metrics *metrics;
    struct node_health *health;
    struct kept_sockets *sockets;
    struct node_ui_context ui;
};

/*
 * Listen, if the options have an address. An address in use is logged; pods get their volumes
 * without these pages.
 * @context: copied
 * Return: 0, *ret_pages is the caller's; -EINVAL for an invalid address; -ENOMEM; with @e.
 */
int node_pages_new(const struct node_pages_context *context, struct node_pages **ret_pages,
                   struct error *e);
/* Return: NULL. */
struct node_pages *node_pages_free(struct node_pages *pages);
DEFINE_CLEANUP(struct node_pages *, node_pages_free)
