/* SPDX-License-Identifier: Apache-2.0 */
#include "node/scrape.h"

/* Whose consumers a scrape looks for below /proc: a few milliseconds. The next one continues. */
#define SWEEPS_A_SCRAPE 64u

struct scrape {
    struct node_metrics *metrics;
    uint64_t swept;
    unsigned n_sweeps;
    size_t n_live, n_stale; /* mounted parts of all volumes */
};

static void collect_consumers(struct scrape *scrape, const struct node_volume *volume)
{
    const struct published *p = &volume->published;
    bool sweeps = volume->number > scrape->swept && scrape->n_sweeps < SWEEPS_A_SCRAPE;
    struct consumers_counts counts;

    if (p->consumers == NULL || p->directory_id == 0)
        return;
    if (sweeps) {
        scrape->swept = volume->number;
        scrape->n_sweeps++;
    }
    if (consumers_count(p->consumers, p->directory_id, sweeps, &counts) == 0)
        node_metrics_collect_consumers(scrape->metrics, p, &counts);
}

static bool collect_volume(void *userdata, struct node_volume *volume)
{
    struct scrape *scrape = userdata;
    struct publisher_mounted_parts mounts;

    node_metrics_collect_volume(scrape->metrics, &volume->published);
    collect_consumers(scrape, volume);
    if (volume->published.publisher == NULL)
        return true;
    mounts = publisher_mounted_parts(volume->published.publisher);
    scrape->n_live += mounts.follow ? mounts.n : 0;
    scrape->n_stale += mounts.follow ? 0 : mounts.n;
    return true;
}

static bool collect_identity(void *userdata, const struct identity *identity)
{
    const struct scrape *scrape = userdata;

    if (identity->source != NULL)
        node_metrics_collect_source(scrape->metrics, identity->source);
    return true;
}

static void collect_audit(struct node_metrics *metrics, struct audit *audit)
{
    const struct audit_counts counts = audit_counts(audit);

    node_metrics_collect_audit(metrics, counts.n_written, counts.n_dropped);
}

static void collect_stored(const struct node_file_systems *all, struct node_metrics *metrics)
{
    uint64_t n_bytes = 0;
    size_t n_not_stored = 0;

    for (enum node_fs fs = NODE_FS_STANDARD; fs <= NODE_FS_LIVE; fs++) {
        const struct handover_usage usage = handover_usage(node_file_systems_handover(all, fs));

        n_bytes += usage.bytes;
        if (node_file_systems_session(all, fs) != NULL && !usage.is_complete)
            n_not_stored++;
    }
    node_metrics_collect_stored(metrics, n_bytes, n_not_stored);
}

void node_scrape_collect(void *userdata, struct node_metrics *metrics)
{
    struct node_scrape *node = userdata;
    struct scrape scrape = {.metrics = metrics, .swept = node->swept};
    struct request_counts counts = {0};
    struct tree_usage usage;

    node_volumes_visit(node->volumes, collect_volume, &scrape);
    node->swept = scrape.n_sweeps < SWEEPS_A_SCRAPE ? 0 : scrape.swept;
    identities_visit(node->identities, collect_identity, &scrape);
    node_file_systems_count_requests(node->file_systems, &counts);
    node_metrics_collect_requests(metrics, &counts);
    node_metrics_collect_mounted_parts(metrics, scrape.n_live, scrape.n_stale);
    usage = node_file_systems_usage(node->file_systems);
    node_metrics_collect_held(metrics, usage.held_bytes, usage.n_dropped);
    node_metrics_collect_blocked_threads(metrics,
                                         node_file_systems_blocked_threads(node->file_systems));
    if (node->audit != NULL)
        collect_audit(metrics, node->audit);
    if (node->commands != NULL)
        node_metrics_collect_commands(metrics, commands_counts(node->commands));
    collect_stored(node->file_systems, metrics);
    node_metrics_collect_registration(metrics, csi_service_is_registered(node->csi));
}
