/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The metrics of a node; docs/metrics.md lists them. See metrics.c.
 *
 * Thread: the event loop's.
 */
#include "fetcher/source.h"
#include "monitor/metrics.h"
#include "node/pod_signal.h"
#include "serve/published.h"

struct node_metrics;

/*
 * @collect: called for each rendering; calls node_metrics_collect_*()
 * Return: 0, *ret_metrics is the caller's; -ENOMEM.
 */
int node_metrics_new(void (*collect)(void *userdata, struct node_metrics *metrics), void *userdata,
                     struct node_metrics **ret_metrics);
/* Return: NULL. */
struct node_metrics *node_metrics_free(struct node_metrics *metrics);
DEFINE_CLEANUP(struct node_metrics *, node_metrics_free)

/* Append the text. Return: 0; -ENOMEM; -EFBIG. */
int node_metrics_render(struct node_metrics *metrics, struct buf *text);

/* ---- counted as it happens */

/* A CSI call was answered. @method: "NodePublishVolume"; @code: "OK", "NotFound". */
void node_metrics_count_call(struct node_metrics *metrics, const char *method, const char *code,
                             span_us took);
/* An update became visible to readers. @took: from its arrival. */
void node_metrics_observe_update(struct node_metrics *metrics, span_us took);
/* What was observed, in seconds. */
struct metric_counts node_metrics_updates(const struct node_metrics *metrics);
/* The result of writing a pod's condition. */
void node_metrics_count_condition(struct node_metrics *metrics, const char *result);
/* Signals to containers of pods: processes, or updates for which there was none. */
void node_metrics_count_signals(struct node_metrics *metrics, enum pod_signal_outcome outcome,
                                unsigned n);
/* The result of an event on a pod: "posted", "failed", "dropped". */
void node_metrics_count_event(struct node_metrics *metrics, const char *result);
/*
 * A source is about to be freed: retain its counts, because counters must not fall.
 * @has_own_client: no other source uses the same HTTP client
 */
void node_metrics_retain_source(struct node_metrics *metrics, const struct source *source,
                                bool has_own_client);

/* ---- for collect() */

void node_metrics_collect_volume(struct node_metrics *metrics, const struct published *published);
void node_metrics_collect_consumers(struct node_metrics *metrics, const struct published *published,
                                    const struct consumers_counts *counts);
void node_metrics_collect_source(struct node_metrics *metrics, const struct source *source);
void node_metrics_collect_requests(struct node_metrics *metrics,
                                   const struct request_counts *counts);
/* Mounted parts of all volumes: those that follow updates, and those that do not. */
void node_metrics_collect_mounted_parts(struct node_metrics *metrics, size_t n_live,
                                        size_t n_stale);
/* Content of removed generations that readers hold: its bytes, and the files that lost theirs. */
void node_metrics_collect_held(struct node_metrics *metrics, size_t n_bytes, uint64_t n_dropped);
void node_metrics_collect_blocked_threads(struct node_metrics *metrics, size_t n);
/* Lines of the audit so far. */
void node_metrics_collect_audit(struct node_metrics *metrics, uint64_t n_written,
                                uint64_t n_dropped);
/* Runs of the administrator's commands so far. */
void node_metrics_collect_commands(struct node_metrics *metrics, struct commands_counts counts);
/* Bytes of all stored states; file systems that end with the process. */
void node_metrics_collect_stored(struct node_metrics *metrics, uint64_t n_bytes,
                                 size_t n_not_stored);
void node_metrics_collect_registration(struct node_metrics *metrics, bool is_registered);
