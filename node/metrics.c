/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events such as answers and updates are counted as they happen. States, such as the number of
 * volumes, are collected for each rendering, so that volumes and sources keep nothing for metrics:
 * forget() clears the last rendering, the owner's collect() adds its objects, and the sums are set.
 *
 * Sources count their requests and restarts themselves. Sources that share an HTTP client share
 * its counts, which are added once. The counts of a source that is freed are retained.
 *
 * No label names a pod or a volume, of which there are too many over time.
 *
 * A series exists at 0 from the start where its labels are known: rate() and increase() miss the
 * first count of a series that begins with it. Statuses of HTTP and certificates are not known.
 */
#include "node/metrics.h"

#include <stdio.h>

#include "cache/secmem.h"
#include "csi/plugin.h"
#include "fetcher/http/stats.h"
#include "monitor/process_metrics.h"
#include "node/condition_patches.h"
#include "node/pod_events.h"
#include "version.h"

/* Seconds: from a publish (0.2 ms) to what the kubelet takes (a minute). */
static const double update_buckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                        0.25,   0.5,   1,      2.5,   5,    10,    60};
/* Seconds: from fetched content to the timeout of the kubelet, two minutes (S11). */
static const double publish_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                         0.5,   1,      2.5,   5,    10,    30,   120};

enum {
    PUBLISH,
    PUBLISH_SECONDS,
    CALLS,
    UPDATE_SECONDS,
    AGE,
    FAILING,
    VOLUMES,
    CONSUMERS,
    ROLLOUT_AGE,
    LONE_MOUNTS,
    WATCHES,
    WATCH_RESTARTS,
    CONNECTIONS,
    WAITING,
    REQUESTS,
    FUSE_REQUESTS,
    HELD_BYTES,
    HELD_DROPPED,
    BLOCKED_THREADS,
    STATE_BYTES,
    NOT_STORED,
    SECRET_BYTES,
    UNLOCKED_BYTES,
    CERTIFICATES,
    EVENTS,
    CONDITIONS,
    AUDIT_LINES,
    SIGNALS,
    COMMANDS,
    REGISTERED,
    BUILD,
    N_METRICS
};

static const struct metric_definition definitions[N_METRICS] = {
    [PUBLISH] = {.name = "secretfs_node_publish_total",
                 .help = "Answers to the kubelet's requests for a volume; reason is the gRPC code.",
                 .kind = METRIC_COUNTER,
                 .labels = {"result", "reason"}},
    [PUBLISH_SECONDS] = {.name = "secretfs_node_publish_duration_seconds",
                         .help = "From the kubelet's request for a volume to the answer.",
                         .kind = METRIC_HISTOGRAM,
                         .buckets = publish_buckets,
                         .n_buckets = ELEMENTS_OF(publish_buckets)},
    [CALLS] = {.name = "secretfs_csi_requests_total",
               .help = "Requests of the kubelet by method and gRPC code.",
               .kind = METRIC_COUNTER,
               .labels = {"method", "code"}},
    [UPDATE_SECONDS] = {.name = "secretfs_update_propagation_seconds",
                        .help = "From the arrival of a change to its visibility in a volume.",
                        .kind = METRIC_HISTOGRAM,
                        .buckets = update_buckets,
                        .n_buckets = ELEMENTS_OF(update_buckets)},
    [AGE] = {.name = "secretfs_secret_age_seconds",
             .help = "Age of the oldest published content.",
             .kind = METRIC_GAUGE},
    [FAILING] = {.name = "secretfs_source_failing_seconds",
                 .help = "How long the source has been failing that has failed longest.",
                 .kind = METRIC_GAUGE},
    [VOLUMES] = {.name = "secretfs_volumes",
                 .help = "Volumes by state.",
                 .kind = METRIC_GAUGE,
                 .labels = {"state"}},
    [CONSUMERS] = {.name = "secretfs_consumers",
                   .help = "Consumers by the namespace of their volume, and by whether they have "
                           "opened its newest content.",
                   .kind = METRIC_GAUGE,
                   .labels = {"namespace", "state"}},
    [ROLLOUT_AGE] = {.name = "secretfs_rollout_age_seconds",
                     .help = "Time since the oldest update that a consumer has not opened.",
                     .kind = METRIC_GAUGE},
    [LONE_MOUNTS] = {.name = "secretfs_lone_mounts",
                     .help =
                         "Files and directories mounted alone (subPath), by whether they follow "
                         "updates.",
                     .kind = METRIC_GAUGE,
                     .labels = {"live"}},
    [WATCHES] = {.name = "secretfs_watches",
                 .help = "Objects watched at the API server.",
                 .kind = METRIC_GAUGE},
    [WATCH_RESTARTS] = {.name = "secretfs_watch_restarts_total",
                        .help = "Watches restarted after they ended.",
                        .kind = METRIC_COUNTER},
    [CONNECTIONS] = {.name = "secretfs_api_connections",
                     .help = "Open connections to API servers.",
                     .kind = METRIC_GAUGE},
    [WAITING] = {.name = "secretfs_api_requests_waiting",
                 .help = "Requests to API servers that wait for admission.",
                 .kind = METRIC_GAUGE},
    [REQUESTS] = {.name = "rest_client_requests_total",
                  .help = "Requests to API servers by HTTP status.",
                  .kind = METRIC_COUNTER,
                  .labels = {"code"}},
    [FUSE_REQUESTS] = {.name = "secretfs_fuse_requests_total",
                       .help = "Requests of the kernel by operation; warm reads need none.",
                       .kind = METRIC_COUNTER,
                       .labels = {"op"}},
    [HELD_BYTES] = {.name = "secretfs_held_bytes",
                    .help = "Objects of older content that readers keep open or mapped.",
                    .kind = METRIC_GAUGE},
    [HELD_DROPPED] = {.name = "secretfs_held_files_dropped_total",
                      .help = "Files of older content that lost it to a limit.",
                      .kind = METRIC_COUNTER},
    [BLOCKED_THREADS] = {.name = "secretfs_publisher_blocked_threads",
                         .help = "Publishing threads blocked in a volume's directory.",
                         .kind = METRIC_GAUGE},
    [STATE_BYTES] = {.name = "secretfs_stored_state_bytes",
                     .help = "Stored states, from which the next process serves the mounts.",
                     .kind = METRIC_GAUGE},
    [NOT_STORED] = {.name = "secretfs_file_systems_not_stored",
                    .help = "Mounted file systems that end with the process.",
                    .kind = METRIC_GAUGE},
    [SECRET_BYTES] = {.name = "secretfs_secret_bytes",
                      .help = "Memory that holds objects, in whole pages.",
                      .kind = METRIC_GAUGE},
    [UNLOCKED_BYTES] = {.name = "secretfs_secret_unlocked_bytes",
                        .help = "The part of that memory that is not locked and could be swapped.",
                        .kind = METRIC_GAUGE},
    [CERTIFICATES] = {.name = "secretfs_certificate_expiry_timestamp_seconds",
                      .help = "Expiry of a certificate that a volume shows.",
                      .kind = METRIC_GAUGE,
                      .labels = {"namespace", "name"}},
    [EVENTS] = {.name = "secretfs_pod_events_total",
                .help = "Events on pods by result.",
                .kind = METRIC_COUNTER,
                .labels = {"result"}},
    [CONDITIONS] = {.name = "secretfs_pod_condition_patches_total",
                    .help = "Writes of the condition secretfs.io/SecretsCurrent by result.",
                    .kind = METRIC_COUNTER,
                    .labels = {"result"}},
    [AUDIT_LINES] = {.name = "secretfs_audit_lines_total",
                     .help = "Lines of the audit by result.",
                     .kind = METRIC_COUNTER,
                     .labels = {"result"}},
    [SIGNALS] = {.name = "secretfs_signals_total",
                 .help = "Signals to containers of pods after updates, by result.",
                 .kind = METRIC_COUNTER,
                 .labels = {"result"}},
    [COMMANDS] = {.name = "secretfs_commands_total",
                  .help = "Runs of the administrator's commands, by use and result.",
                  .kind = METRIC_COUNTER,
                  .labels = {"use", "result"}},
    [REGISTERED] = {.name = "secretfs_registered",
                    .help = "Whether the kubelet accepted the plug-in.",
                    .kind = METRIC_GAUGE},
    [BUILD] = {.name = "secretfs_build_info",
               .help = "1, with the version of the program.",
               .kind = METRIC_GAUGE,
               .labels = {"version"}},
};

#define CODES_MAX 64 /* HTTP has about as many */
#define CODE_SIZE 12

/* API servers in use at the same time: one, and those of static volumes. */
#define CLIENTS_MAX 64

struct code_count {
    int status;
    double n;
};

struct node_metrics {
    struct metrics *registry;
    struct metric *metrics[N_METRICS];
    struct process_metrics process;
    void (*collect)(void *userdata, struct node_metrics *metrics);
    void *userdata;

    /* of the current rendering */
    double oldest_content, longest_failure, longest_rollout; /* in seconds */
    size_t n_volumes[READER_STATES];
    double n_watches, n_connections, n_waiting, n_restarts;
    const struct http_stats *clients[CLIENTS_MAX]; /* added already */
    size_t n_clients;

    /* of freed sources */
    double n_restarts_retained;
    struct code_count codes_retained[CODES_MAX];
    size_t n_codes_retained;
};

static void collect(void *userdata);

/* ---- new and free */

struct node_metrics *node_metrics_free(struct node_metrics *metrics)
{
    if (metrics == NULL)
        return NULL;
    metrics_free(metrics->registry);
    free(metrics);
    return NULL;
}

static void begin_calls(struct node_metrics *m)
{
    const char *method;

    for (size_t i = 0; (method = csi_method_name(i)) != NULL; i++)
        for (unsigned code = 0; code < GRPC_CODES; code++)
            metric_begin(m->metrics[CALLS], LABELS(method, grpc_code_name(code)));
}

static void begin_publishes(struct node_metrics *m)
{
    metric_begin(m->metrics[PUBLISH], LABELS("success", ""));
    for (unsigned code = GRPC_OK + 1; code < GRPC_CODES; code++)
        metric_begin(m->metrics[PUBLISH], LABELS("failure", grpc_code_name(code)));
}

static void begin_series(struct node_metrics *m)
{
    begin_calls(m);
    begin_publishes(m);
    metric_begin(m->metrics[PUBLISH_SECONDS], NULL);
    metric_begin(m->metrics[UPDATE_SECONDS], NULL);
    for (uint32_t opcode = 0; opcode < REQUEST_KINDS; opcode++)
        metric_begin(m->metrics[FUSE_REQUESTS], LABELS(request_kind_name(opcode)));
    for (unsigned result = 0; result < POD_EVENT_RESULTS; result++)
        metric_begin(m->metrics[EVENTS], LABELS(pod_event_result_name(result)));
    for (unsigned result = 0; result < CONDITION_PATCH_RESULTS; result++)
        metric_begin(m->metrics[CONDITIONS], LABELS(condition_patch_result_name(result)));
    metric_begin(m->metrics[AUDIT_LINES], LABELS("written"));
    metric_begin(m->metrics[AUDIT_LINES], LABELS("dropped"));
    for (unsigned outcome = 0; outcome < POD_SIGNAL_OUTCOMES; outcome++)
        metric_begin(m->metrics[SIGNALS], LABELS(pod_signal_outcome_name(outcome)));
}

int node_metrics_new(void (*collect_node)(void *userdata, struct node_metrics *metrics),
                     void *userdata, struct node_metrics **ret_metrics)
{
    _cleanup_(node_metrics_freep) struct node_metrics *m = calloc(1, sizeof(*m));
    int r = m != NULL ? metrics_new(&m->registry) : -ENOMEM;

    for (size_t i = 0; i < N_METRICS && r >= 0; i++)
        r = metrics_add(m->registry, &definitions[i], &m->metrics[i]);
    if (r >= 0)
        r = process_metrics_init(&m->process, m->registry);
    if (r >= 0)
        r = metrics_add_collector(m->registry, collect, m);
    if (r < 0)
        return r;
    m->collect = collect_node;
    m->userdata = userdata;
    begin_series(m);
    metric_set(m->metrics[BUILD], 1, LABELS(SECRETFS_VERSION));
    *ret_metrics = TAKE(m);
    return 0;
}

int node_metrics_render(struct node_metrics *metrics, struct buf *text)
{
    return metrics_render(metrics->registry, text);
}

/* ---- counted as it happens */

void node_metrics_count_call(struct node_metrics *metrics, const char *method, const char *code,
                             span_us took)
{
    bool is_ok = streq(code, "OK");

    metric_count(metrics->metrics[CALLS], 1, LABELS(method, code));
    if (!streq(method, "NodePublishVolume"))
        return;
    metric_count(metrics->metrics[PUBLISH], 1,
                 LABELS(is_ok ? "success" : "failure", is_ok ? "" : code));
    metric_observe(metrics->metrics[PUBLISH_SECONDS], (double)took / 1e6, NULL);
}

void node_metrics_observe_update(struct node_metrics *metrics, span_us took)
{
    metric_observe(metrics->metrics[UPDATE_SECONDS], (double)took / 1e6, NULL);
}

struct metric_counts node_metrics_updates(const struct node_metrics *metrics)
{
    return metric_counts(metrics->metrics[UPDATE_SECONDS]);
}

void node_metrics_count_event(struct node_metrics *metrics, const char *result)
{
    metric_count(metrics->metrics[EVENTS], 1, LABELS(result));
}

void node_metrics_count_condition(struct node_metrics *metrics, const char *result)
{
    metric_count(metrics->metrics[CONDITIONS], 1, LABELS(result));
}

void node_metrics_count_signals(struct node_metrics *metrics, enum pod_signal_outcome outcome,
                                unsigned n)
{
    metric_count(metrics->metrics[SIGNALS], n, LABELS(pod_signal_outcome_name(outcome)));
}

/* ---- sources */

/* client-go's labels. */
static const char *code_label(int status, char buf[static CODE_SIZE])
{
    if (status == 0)
        return "<error>";
    snprintf(buf, CODE_SIZE, "%d", status);
    return buf;
}
#define CODE_LABEL(status) code_label((status), (char[CODE_SIZE]){""})

static bool count_source(const struct source *source, struct source_counts *ret_counts)
{
    *ret_counts = (struct source_counts){0};
    if (source->ops->count == NULL)
        return false;
    source->ops->count(source, ret_counts);
    return true;
}

/* Sources may share a client. */
static bool is_added(struct node_metrics *m, const struct http_stats *client)
{
    for (size_t i = 0; i < m->n_clients; i++)
        if (m->clients[i] == client)
            return true;
    if (m->n_clients == CLIENTS_MAX)
        return true;
    m->clients[m->n_clients++] = client;
    return false;
}

void node_metrics_collect_source(struct node_metrics *metrics, const struct source *source)
{
    struct source_counts counts;

    if (!count_source(source, &counts))
        return;
    metrics->n_watches += (double)counts.n_watches;
    metrics->n_restarts += (double)counts.n_restarts;
    if (is_added(metrics, counts.requests))
        return;
    metrics->n_connections += counts.requests->connections;
    metrics->n_waiting += (double)counts.requests->n_waiting;
    for (size_t i = 0; i < counts.requests->n_codes; i++)
        metric_count(metrics->metrics[REQUESTS], (double)counts.requests->codes[i].n,
                     LABELS(CODE_LABEL(counts.requests->codes[i].status)));
}

static void retain_code(struct node_metrics *m, int status, double n)
{
    size_t i = 0;

    while (i < m->n_codes_retained && m->codes_retained[i].status != status)
        i++;
    if (i == CODES_MAX)
        return;
    if (i == m->n_codes_retained)
        m->codes_retained[m->n_codes_retained++].status = status;
    m->codes_retained[i].n += n;
}

void node_metrics_retain_source(struct node_metrics *metrics, const struct source *source,
                                bool has_own_client)
{
    struct source_counts counts;

    if (!count_source(source, &counts))
        return;
    metrics->n_restarts_retained += (double)counts.n_restarts;
    for (size_t i = 0; has_own_client && i < counts.requests->n_codes; i++)
        retain_code(metrics, counts.requests->codes[i].status, (double)counts.requests->codes[i].n);
}

/* ---- states */

static double seconds_since(boot_us then)
{
    return (double)(clock_boot() - then) / 1e6;
}

static void keep_greater(double *greatest, double n)
{
    if (n > *greatest)
        *greatest = n;
}

static void collect_certificates(struct node_metrics *m, const struct published *p)
{
    for (size_t i = 0; i < p->options.spec->n_sources; i++) {
        const struct tls_pair *pair = volume_tls(p->volume, i);
        const struct object_key *key = volume_view(p->volume, i)->key;

        if (pair != NULL && pair->not_after.tv_sec != 0)
            metric_set(m->metrics[CERTIFICATES], (double)pair->not_after.tv_sec,
                       LABELS(key->namespace, key->name));
    }
}

void node_metrics_collect_volume(struct node_metrics *metrics, const struct published *published)
{
    const struct store_view *worst;

    if (published->volume == NULL)
        return;
    metrics->n_volumes[published_reader_state(published)]++;
    if (published->n_published > 0)
        keep_greater(&metrics->oldest_content, seconds_since(published->updated_at));
    worst = volume_least_healthy_source(published->volume);
    if (worst != NULL && worst->source_state == STORE_SOURCE_FAILING)
        keep_greater(&metrics->longest_failure, seconds_since(worst->source_state_since));
    collect_certificates(metrics, published);
}

static void collect_requests(void *userdata, const char *kind, uint64_t count)
{
    struct node_metrics *m = userdata;

    metric_set(m->metrics[FUSE_REQUESTS], (double)count, LABELS(kind));
}

void node_metrics_collect_consumers(struct node_metrics *metrics, const struct published *published,
                                    const struct consumers_counts *counts)
{
    const char *namespace = published->options.namespace;
    struct metric *metric = metrics->metrics[CONSUMERS];

    metric_count(metric, (double)counts->n_current, LABELS(namespace, "current"));
    metric_count(metric, (double)counts->n_old, LABELS(namespace, "old"));
    if (counts->n_old > 0)
        keep_greater(&metrics->longest_rollout, seconds_since(published->updated_at));
}

void node_metrics_collect_requests(struct node_metrics *metrics,
                                   const struct request_counts *counts)
{
    request_counts_visit(counts, collect_requests, metrics);
}

void node_metrics_collect_mounted_parts(struct node_metrics *metrics, size_t n_live, size_t n_stale)
{
    metric_set(metrics->metrics[LONE_MOUNTS], (double)n_live, LABELS("true"));
    metric_set(metrics->metrics[LONE_MOUNTS], (double)n_stale, LABELS("false"));
}

void node_metrics_collect_held(struct node_metrics *metrics, size_t n_bytes, uint64_t n_dropped)
{
    metric_set(metrics->metrics[HELD_BYTES], (double)n_bytes, NULL);
    metric_set(metrics->metrics[HELD_DROPPED], (double)n_dropped, NULL);
}

void node_metrics_collect_blocked_threads(struct node_metrics *metrics, size_t n)
{
    metric_set(metrics->metrics[BLOCKED_THREADS], (double)n, NULL);
}

void node_metrics_collect_audit(struct node_metrics *metrics, uint64_t n_written,
                                uint64_t n_dropped)
{
    metric_set(metrics->metrics[AUDIT_LINES], (double)n_written, LABELS("written"));
    metric_set(metrics->metrics[AUDIT_LINES], (double)n_dropped, LABELS("dropped"));
}

void node_metrics_collect_commands(struct node_metrics *metrics, struct commands_counts counts)
{
    for (enum commands_result each = 0; each < COMMANDS_RESULTS; each++) {
        const char *result = commands_result_name(each);

        metric_set(metrics->metrics[COMMANDS], (double)counts.checks[each],
                   LABELS("check", result));
        metric_set(metrics->metrics[COMMANDS], (double)counts.updates[each],
                   LABELS("update", result));
    }
}

void node_metrics_collect_stored(struct node_metrics *metrics, uint64_t n_bytes,
                                 size_t n_not_stored)
{
    metric_set(metrics->metrics[STATE_BYTES], (double)n_bytes, NULL);
    metric_set(metrics->metrics[NOT_STORED], (double)n_not_stored, NULL);
}

void node_metrics_collect_registration(struct node_metrics *metrics, bool is_registered)
{
    metric_set(metrics->metrics[REGISTERED], is_registered ? 1 : 0, NULL);
}

/* ---- collecting */

static void forget(struct node_metrics *m)
{
    metric_clear(m->metrics[CERTIFICATES]);
    metric_clear(m->metrics[REQUESTS]);
    metric_clear(m->metrics[CONSUMERS]);
    for (size_t i = 0; i < m->n_codes_retained; i++)
        metric_count(m->metrics[REQUESTS], m->codes_retained[i].n,
                     LABELS(CODE_LABEL(m->codes_retained[i].status)));
    m->n_restarts = m->n_restarts_retained;
    m->n_watches = m->n_connections = m->n_waiting = 0;
    m->n_clients = 0;
    m->oldest_content = m->longest_failure = m->longest_rollout = 0;
    for (size_t i = 0; i < READER_STATES; i++)
        m->n_volumes[i] = 0;
}

static void collect(void *userdata)
{
    struct node_metrics *m = userdata;

    forget(m);
    m->collect(m->userdata, m);
    assert(m->n_clients <= CLIENTS_MAX && m->n_codes_retained <= CODES_MAX);
    for (size_t i = 0; i < READER_STATES; i++)
        metric_set(m->metrics[VOLUMES], (double)m->n_volumes[i],
                   LABELS(reader_state_name((enum reader_state)i)));
    metric_set(m->metrics[AGE], m->oldest_content, NULL);
    metric_set(m->metrics[FAILING], m->longest_failure, NULL);
    metric_set(m->metrics[ROLLOUT_AGE], m->longest_rollout, NULL);
    metric_set(m->metrics[WATCHES], m->n_watches, NULL);
    metric_set(m->metrics[WATCH_RESTARTS], m->n_restarts, NULL);
    metric_set(m->metrics[CONNECTIONS], m->n_connections, NULL);
    metric_set(m->metrics[WAITING], m->n_waiting, NULL);
    metric_set(m->metrics[SECRET_BYTES], (double)secmem_bytes(), NULL);
    metric_set(m->metrics[UNLOCKED_BYTES], (double)secmem_unlocked_bytes(), NULL);
}
