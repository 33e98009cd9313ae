/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A registry of metrics and their text for Prometheus (exposition format 0.0.4).
 *
 * Metrics are declared once, by definitions that live as long as the registry; the program counts
 * and observes as events happen. A collector sets the values that are counted elsewhere; it is
 * called for each rendering.
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"

struct metrics;
struct metric;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRICS_MAX        64  /* of a registry; a node has half as many */
#define METRIC_LABELS_MAX  3   /* names of a metric's labels */
#define METRIC_BUCKETS_MAX 24  /* of a histogram, without the last one, +Inf */
#define METRIC_VALUE_MAX   256 /* bytes of a label's value: two names of objects, as "ns/name" */
#define METRIC_SERIES_MAX                                                                          \
    1000 /* of a metric; more would make a scrape slow for the monitoring system */
#define METRIC_DROPPED_NAME "secretfs_metrics_dropped_total"

struct metric_definition {
    const char *name; /* a counter's ends in _total */
    const char *help;
    enum metric_kind kind;
    const char *labels[METRIC_LABELS_MAX]; /* names, NULL-terminated if fewer */
    const double *buckets;                 /* upper bounds of a histogram, ascending */
    size_t n_buckets;
};

/* Sets values that are counted elsewhere, before each rendering. */
typedef void metrics_collect_fn(void *userdata);

/* Return: 0, *ret_metrics is the caller's; -ENOMEM. */
int metrics_new(struct metrics **ret_metrics);
/* Return: NULL. */
struct metrics *metrics_free(struct metrics *metrics);
DEFINE_CLEANUP(struct metrics *, metrics_free)

/*
 * Declare a metric.
 * @definition: outlives the registry
 * Return: 0, *ret_metric lives as long as the registry; -ENOMEM; -ENOSPC past METRICS_MAX.
 */
int metrics_add(struct metrics *metrics, const struct metric_definition *definition,
                struct metric **ret_metric);

/* There are at most METRICS_COLLECTORS_MAX. Return: 0 or -ENOSPC. */
#define METRICS_COLLECTORS_MAX 4
int metrics_add_collector(struct metrics *metrics, metrics_collect_fn *collect, void *userdata);

/*
 * Count, set or observe a value; this cannot fail.
 * @labels: values in the order of the metric's label names, copied; NULL for a metric without
 * labels A value beyond METRIC_SERIES_MAX or without memory is dropped; METRIC_DROPPED_NAME counts
 * drops.
 */
#define LABELS(...) ((const char *const[]){__VA_ARGS__})
/* Create the series at 0, unless it exists: rate() misses the first count of one that does not. */
void metric_begin(struct metric *metric, const char *const *labels);
void metric_count(struct metric *metric, double by, const char *const *labels);
/* Of a gauge; of a counter when its value is counted elsewhere. */
void metric_set(struct metric *metric, double value, const char *const *labels);
/* Of a histogram. */
void metric_observe(struct metric *metric, double value, const char *const *labels);
/* Remove all series, before a collector sets the current ones. */
void metric_clear(struct metric *metric);

/* What a histogram without labels has counted. */
struct metric_counts {
    const double *bounds; /* the upper ones, ascending; borrowed from the definition */
    size_t n_bounds;
    const uint64_t *in_buckets; /* n_bounds + 1: the last one is above all; NULL: nothing yet */
    uint64_t n;
    double sum;
};
/* Return: borrowed until the next call for the metric. */
struct metric_counts metric_counts(const struct metric *metric);

/* Call the collectors and append the text. Return: 0; -ENOMEM; -EFBIG at the buffer's limit. */
int metrics_render(struct metrics *metrics, struct buf *text);
