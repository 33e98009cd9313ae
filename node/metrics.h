/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The metrics of a node; docs/metrics.md lists them. What happens is counted as it happens. What
 * there is, is looked at for each rendering: `collect` calls the node_metrics_see_*() for all that
 * it has. No label tells a pod or a volume, as there is no end of those.
 *
 * Thread: the event loop's.
 */
#include "fetcher/source.h"
#include "monitor/metrics.h"
#include "serve/published.h"

struct node_metrics;

/*
 * @collect: called for each rendering
 * Return: 0, *ret_metrics is the caller's; -ENOMEM.
 */
int node_metrics_new(void (*collect)(void *userdata, struct node_metrics *metrics), void *userdata,
                     struct node_metrics **ret_metrics);
/* Return: NULL. */
struct node_metrics *node_metrics_free(struct node_metrics *metrics);
DEFINE_CLEANUP(struct node_metrics *, node_metrics_free)

/* Append the text. Return: 0; -ENOMEM; -EFBIG. */
int node_metrics_render(struct node_metrics *metrics, struct buf *text);

/* ---- what happens */

/* A call of the kubelet was answered. @method: "NodePublishVolume"; @code: "OK", "NotFound". */
void node_metrics_answered(struct node_metrics *metrics, const char *method, const char *code,
                           span_us took);
/* A change that the source told of became visible. */
void node_metrics_updated(struct node_metrics *metrics, span_us took);
/* What became of an event on a pod: "posted", "failed", "dropped". */
void node_metrics_event(struct node_metrics *metrics, const char *result);
/*
 * A source is about to be freed: what it counted is kept.
 * @has_own_client: no other source makes its requests with the same client
 */
void node_metrics_source_gone(struct node_metrics *metrics, const struct source *source,
                              bool has_own_client);

/* ---- what there is, from within collect() */

void node_metrics_see_volume(struct node_metrics *metrics, const struct published *published);
void node_metrics_see_source(struct node_metrics *metrics, const struct source *source);
void node_metrics_see_requests(struct node_metrics *metrics, const struct request_counts *counts);
/* What is mounted alone of all volumes: what follows updates, and what does not. */
void node_metrics_see_lone_mounts(struct node_metrics *metrics, size_t n_live, size_t n_stale);
void node_metrics_see_registration(struct node_metrics *metrics, bool is_registered);
