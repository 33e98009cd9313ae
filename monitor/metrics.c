/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting never fails: a value that would exceed METRIC_SERIES_MAX or for which memory runs out is
 * dropped, and METRIC_DROPPED_NAME counts that. A series is found by comparing label values one
 * after the other; a node's metrics have few combinations.
 *
 * Label values are cut to METRIC_VALUE_MAX bytes, which may split a character: what is not valid
 * UTF-8 is written as "?".
 */
#include "monitor/metrics.h"

#include <math.h>
#include <stdio.h>

#include "base/list.h"
#include "encoding/utf8.h"

/* One combination of label values. */
struct series {
    struct list link;
    char *labels[METRIC_LABELS_MAX];
    double value;         /* of a histogram: the sum */
    uint64_t n_observed;  /* of a histogram */
    uint64_t *in_buckets; /* observations above the bound of the bucket before */
};

struct metric {
    const struct metric_definition *definition;
    struct metrics *registry;
    size_t n_labels;
    struct list series;
    size_t n_series;
};

struct collector {
    metrics_collect_fn *collect;
    void *userdata;
};

struct metrics {
    struct metric *metrics[METRICS_MAX];
    size_t n_metrics;
    struct collector collectors[METRICS_COLLECTORS_MAX];
    size_t n_collectors;
    struct metric *dropped;
    uint64_t n_dropped;
};

/* ---- the registry */

static void series_free(struct series *s)
{
    for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
        free(s->labels[i]);
    free(s->in_buckets);
    free(s);
}

void metric_clear(struct metric *metric)
{
    struct series *s, *tmp;

    list_for_each_safe (s, tmp, &metric->series, link) {
        list_remove(&s->link);
        series_free(s);
    }
    metric->n_series = 0;
}

struct metrics *metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return NULL;
    for (size_t i = 0; i < metrics->n_metrics; i++) {
        metric_clear(metrics->metrics[i]);
        free(metrics->metrics[i]);
    }
    free(metrics);
    return NULL;
}

int metrics_new(struct metrics **ret_metrics)
{
    static const struct metric_definition dropped = {
        .name = METRIC_DROPPED_NAME,
        .help =
            "Values of metrics that were dropped because a limit was reached or memory ran out.",
        .kind = METRIC_COUNTER,
    };
    _cleanup_(metrics_freep) struct metrics *metrics = calloc(1, sizeof(*metrics));
    int r = metrics != NULL ? metrics_add(metrics, &dropped, &metrics->dropped) : -ENOMEM;

    if (r < 0)
        return r;
    metric_set(metrics->dropped, 0, NULL);
    if (metrics->dropped->n_series == 0)
        return -ENOMEM;
    *ret_metrics = TAKE(metrics);
    return 0;
}

static void check_definition(const struct metric_definition *d)
{
    bool is_total = strlen(d->name) > 6 && streq(d->name + strlen(d->name) - 6, "_total");

    assert(is_total == (d->kind == METRIC_COUNTER));
    assert((d->n_buckets > 0) == (d->kind == METRIC_HISTOGRAM));
    assert(d->n_buckets <= METRIC_BUCKETS_MAX);
    for (size_t i = 1; i < d->n_buckets; i++)
        assert(d->buckets[i - 1] < d->buckets[i]);
}

int metrics_add(struct metrics *metrics, const struct metric_definition *definition,
                struct metric **ret_metric)
{
    struct metric *metric;

    check_definition(definition);
    if (metrics->n_metrics == METRICS_MAX)
        return -ENOSPC;
    metric = calloc(1, sizeof(*metric));
    if (metric == NULL)
        return -ENOMEM;
    metric->definition = definition;
    metric->registry = metrics;
    list_init(&metric->series);
    while (metric->n_labels < METRIC_LABELS_MAX && definition->labels[metric->n_labels] != NULL)
        metric->n_labels++;
    metrics->metrics[metrics->n_metrics++] = metric;
    *ret_metric = metric;
    return 0;
}

int metrics_add_collector(struct metrics *metrics, metrics_collect_fn *collect, void *userdata)
{
    if (metrics->n_collectors == METRICS_COLLECTORS_MAX)
        return -ENOSPC;
    metrics->collectors[metrics->n_collectors++] =
        (struct collector){.collect = collect, .userdata = userdata};
    return 0;
}

/* ---- counting */

static bool series_matches(const struct metric *m, const struct series *s,
                           const char *const *labels)
{
    for (size_t i = 0; i < m->n_labels; i++)
        if (strncmp(s->labels[i], labels[i], METRIC_VALUE_MAX) != 0)
            return false;
    return true;
}

/* Return: NULL when memory runs out. */
static struct series *series_new(const struct metric *m, const char *const *labels)
{
    size_t n_counts = m->definition->n_buckets + 1;
    struct series *s = calloc(1, sizeof(*s));
    bool has_memory = s != NULL;

    for (size_t i = 0; has_memory && i < m->n_labels; i++) {
        s->labels[i] = strndup(labels[i], METRIC_VALUE_MAX);
        has_memory = s->labels[i] != NULL;
    }
    if (has_memory && m->definition->kind == METRIC_HISTOGRAM) {
        s->in_buckets = calloc(n_counts, sizeof(*s->in_buckets));
        has_memory = s->in_buckets != NULL;
    }
    if (has_memory)
        return s;
    if (s != NULL)
        series_free(s);
    return NULL;
}

/* Return: NULL when another series would exceed a limit or memory; the drop is counted. */
static struct series *find_series(struct metric *m, const char *const *labels)
{
    static const char *const none[METRIC_LABELS_MAX];
    struct series *s;

    assert(labels != NULL || m->n_labels == 0);
    labels = labels != NULL ? labels : none;
    list_for_each (s, &m->series, link)
        if (series_matches(m, s, labels))
            return s;
    s = m->n_series < METRIC_SERIES_MAX ? series_new(m, labels) : NULL;
    if (s == NULL) {
        m->registry->n_dropped++;
        return NULL;
    }
    list_append(&m->series, &s->link);
    m->n_series++;
    assert(m->n_series <= METRIC_SERIES_MAX);
    return s;
}

void metric_begin(struct metric *metric, const char *const *labels)
{
    (void)find_series(metric, labels);
}

void metric_count(struct metric *metric, double by, const char *const *labels)
{
    struct series *s = find_series(metric, labels);

    assert(metric->definition->kind != METRIC_HISTOGRAM);
    assert(by >= 0 || metric->definition->kind == METRIC_GAUGE);
    if (s != NULL)
        s->value += by;
}

void metric_set(struct metric *metric, double value, const char *const *labels)
{
    struct series *s = find_series(metric, labels);

    assert(metric->definition->kind != METRIC_HISTOGRAM);
    if (s != NULL)
        s->value = value;
}

void metric_observe(struct metric *metric, double value, const char *const *labels)
{
    const struct metric_definition *d = metric->definition;
    struct series *s = find_series(metric, labels);
    size_t i = 0;

    assert(d->kind == METRIC_HISTOGRAM);
    if (s == NULL)
        return;
    while (i < d->n_buckets && value > d->buckets[i])
        i++;
    s->in_buckets[i]++;
    s->n_observed++;
    s->value += value;
}

struct metric_counts metric_counts(const struct metric *metric)
{
    const struct metric_definition *d = metric->definition;
    struct metric_counts counts = {.bounds = d->buckets, .n_bounds = d->n_buckets};
    const struct series *s;

    assert(d->kind == METRIC_HISTOGRAM && metric->n_labels == 0);
    list_for_each (s, &metric->series, link) {
        counts.in_buckets = s->in_buckets;
        counts.n = s->n_observed;
        counts.sum = s->value;
    }
    return counts;
}

/* ---- the text */

static const char *kind_name(enum metric_kind kind)
{
    switch (kind) {
    case METRIC_COUNTER:
        return "counter";
    case METRIC_GAUGE:
        return "gauge";
    case METRIC_HISTOGRAM:
        return "histogram";
    }
    return "untyped";
}

/* The shortest decimal that parses to the same number. */
#define NUMBER_SIZE 32
static const char *number_text(double n, char text[static NUMBER_SIZE])
{
    if (isnan(n))
        return "NaN";
    if (isinf(n))
        return n > 0 ? "+Inf" : "-Inf";
    if (fabs(n) < 1e15 && (double)(int64_t)n == n) {
        snprintf(text, NUMBER_SIZE, "%.0f", n);
        return text;
    }
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(text, NUMBER_SIZE, "%.*g", precision, n);
        if (strtod(text, NULL) == n)
            break;
    }
    return text;
}
#define NUMBER_TEXT(n) number_text((n), (char[NUMBER_SIZE]){""})

/* @quotes: of a label's value, where '"' needs escaping as well. */
static int add_escaped(struct buf *text, const char *value, bool quotes)
{
    const char *c = value;
    int r = 0;

    while (*c != '\0' && r >= 0) {
        /* not UTF-8: a value may have been cut within a character */
        size_t len = utf8_length(c, strnlen(c, UTF8_MAX_BYTES));

        if (*c == '\\')
            r = buf_add_text(text, "\\\\");
        else if (*c == '\n')
            r = buf_add_text(text, "\\n");
        else if (*c == '"' && quotes)
            r = buf_add_text(text, "\\\"");
        else if (len == 0)
            r = buf_add_text(text, "?");
        else
            r = buf_add(text, c, len);
        c += len > 0 ? len : 1;
    }
    return r;
}

/* NAME SUFFIX {labels, le} VALUE. @le: NULL for none. */
static int add_sample(struct buf *text, const struct metric *m, const struct series *s,
                      const char *suffix, const char *le, const char *value)
{
    const char *separator = "{";
    int r = buf_addf(text, "%s%s", m->definition->name, suffix);

    for (size_t i = 0; i < m->n_labels && r >= 0; i++) {
        r = buf_addf(text, "%s%s=\"", separator, m->definition->labels[i]);
        if (r >= 0)
            r = add_escaped(text, s->labels[i], true);
        if (r >= 0)
            r = buf_add_text(text, "\"");
        separator = ",";
    }
    if (r >= 0 && le != NULL) {
        r = buf_addf(text, "%sle=\"%s\"", separator, le);
        separator = ",";
    }
    return r < 0 ? r : buf_addf(text, "%s %s\n", separator[0] == ',' ? "}" : "", value);
}

static int add_histogram(struct buf *text, const struct metric *m, const struct series *s)
{
    const struct metric_definition *d = m->definition;
    uint64_t n = 0;
    int r = 0;

    for (size_t i = 0; i <= d->n_buckets && r >= 0; i++) {
        double bound = i < d->n_buckets ? d->buckets[i] : INFINITY;

        n += s->in_buckets[i];
        r = add_sample(text, m, s, "_bucket", NUMBER_TEXT(bound), NUMBER_TEXT((double)n));
    }
    if (r >= 0)
        r = add_sample(text, m, s, "_sum", NULL, NUMBER_TEXT(s->value));
    return r < 0 ? r : add_sample(text, m, s, "_count", NULL, NUMBER_TEXT((double)s->n_observed));
}

static int add_metric(struct buf *text, const struct metric *m)
{
    const struct metric_definition *d = m->definition;
    const struct series *s;
    int r;

    if (m->n_series == 0)
        return 0;
    r = buf_addf(text, "# HELP %s ", d->name);
    if (r >= 0)
        r = add_escaped(text, d->help, false);
    if (r >= 0)
        r = buf_addf(text, "\n# TYPE %s %s\n", d->name, kind_name(d->kind));
    list_for_each (s, &m->series, link) {
        if (r < 0)
            return r;
        if (d->kind == METRIC_HISTOGRAM)
            r = add_histogram(text, m, s);
        else
            r = add_sample(text, m, s, "", NULL, NUMBER_TEXT(s->value));
    }
    return r;
}

int metrics_render(struct metrics *metrics, struct buf *text)
{
    int r = 0;

    for (size_t i = 0; i < metrics->n_collectors; i++)
        metrics->collectors[i].collect(metrics->collectors[i].userdata);
    metric_set(metrics->dropped, (double)metrics->n_dropped, NULL);
    for (size_t i = 0; i < metrics->n_metrics && r >= 0; i++)
        r = add_metric(text, metrics->metrics[i]);
    return r;
}
