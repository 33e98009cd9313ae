/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a node, and who calls whom:
 *
 *   kubelet -> csi/ -> csi_service ------------------+                 +-> published -> publisher
 *                                                    +-> node_volume --+-> file_systems
 *   files -> static_volumes -> static_reconciler ----+                 +-> target (mounts)
 *
 *   status, health, pages (with scrape): read all of them, for sockets and for HTTP
 *   control: orders for volumes, from `secretfs rollout`
 *   volume_events, volume_notices, pod_conditions, metrics: the observer of all volumes
 *
 * No part knows this file: each gets references to the parts that it uses, and reports a change of
 * the service manager's status line by one callback.
 *
 * One daemon serves a run directory, which a lock ensures. Under a service manager that keeps
 * descriptors it takes over the file systems of an earlier process, with the volumes that were
 * mounted (csi_service_take_over()), and the sockets that clients wait at. Other mounts that a
 * killed daemon left are detached before anything is served, since no process answers their
 * requests; the kubelet publishes again what pods need (S13). SIGTERM unmounts everything that no
 * other process will take over.
 *
 * The daemon notifies the service manager that it is ready whether or not the API server can be
 * reached: pods without our volumes do not have to wait, and those with one get an error by CSI.
 */
#include "node/node.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "cache/secmem.h"
#include "node/check.h"
#include "node/control.h"
#include "node/lost_mounts.h"
#include "node/pages.h"
#include "node/pod_conditions.h"
#include "node/pod_source.h"
#include "node/run_dir.h"
#include "node/scrape.h"
#include "node/static_reconciler.h"
#include "node/status.h"
#include "node/volume_events.h"
#include "node/volume_notices.h"
#include "serve/daemon.h"
#include "serve/service_manager.h"

/* When a source fails for many volumes at once, ten of them show the extent. */
#define SOURCE_LOG_LINES  10
#define SOURCE_LOG_PERIOD SPAN_SEC(10)

struct node {
    struct daemon daemon;
    const struct node_options *options;
    struct timespec started_at;
    struct fd_store *fd_store;
    struct kept_sockets *sockets;
    int lock_fd;
    char *target_root; /* KUBELET_ROOT/pods */
    struct utsname kernel;

    struct node_metrics *metrics;
    struct node_scrape scrape;
    struct node_volume_events *events;
    struct node_volume_notices *notices;
    struct pod_conditions *conditions; /* NULL without an API server */
    struct published_observer observer;
    struct audit *audit;       /* NULL: none */
    struct commands *commands; /* the same */
    struct node_file_systems *file_systems;
    struct log_limit source_log;
    struct node_volume_context volume_context;

    struct identities *identities;
    struct identity *own_identity; /* a reference; NULL until api is open */
    struct node_api api;
    struct node_pods *pods;
    struct allocatable *allocatable;
    struct pod_source *pod_source; /* NULL until the others exist */
    struct node_volumes *volumes;
    struct csi_service *csi;
    struct static_reconciler *static_volumes;
    struct lost_mounts *lost_mounts; /* NULL until volumes were taken over */
    struct node_status *status;      /* NULL until the file systems and the services exist */
    struct node_health *health;
    struct node_control *control;
    struct node_pages *pages;
    bool is_serving; /* it has started */
    bool has_warned; /* about memory that is not locked */
};

static void check_conditions(const struct node *node, const struct node_volume *volume)
{
    if (node->conditions != NULL)
        pod_conditions_check(node->conditions, volume);
}

/* The changed() of csi_service and static_reconciler. */
static void on_parts_changed(void *userdata)
{
    struct node *node = userdata;
    char text[128];

    snprintf(text, sizeof(text), "%zu volumes%s", node_volumes_count(node->volumes),
             node->csi == NULL || csi_service_is_registered(node->csi)
                 ? ""
                 : "; not registered with the kubelet");
    service_manager_status(text);
    check_conditions(node, NULL);
    if (!node->has_warned && secmem_unlocked_bytes() > 0) {
        node->has_warned = true;
        log_warn("secret memory is not locked and could be swapped; raise `ulimit -l` "
                 "(LimitMEMLOCK=)");
    }
}

/* ---- directories */

static int open_run_dir(struct node *node, struct error *e)
{
    if (asprintf(&node->target_root, "%s/pods", node->options->kubelet_root) < 0) {
        node->target_root = NULL;
        return error_set_errno(e, -ENOMEM, "cannot start");
    }
    return run_dir_open(node->options->run_dir, &node->lock_fd, e);
}

/* ---- metrics, events and file systems */

static void on_volume_changed(void *userdata, struct published *p)
{
    const struct node *node = userdata;

    node_volume_events_check(node->events, CONTAINER_OF(p, struct node_volume, published));
    node_volume_notices_check(node->notices, CONTAINER_OF(p, struct node_volume, published));
    check_conditions(node, CONTAINER_OF(p, struct node_volume, published));
}

static void on_volume_updated(void *userdata, struct published *p)
{
    const struct node *node = userdata;

    node_metrics_observe_update(node->metrics, p->update_latency_us);
    node_volume_notices_updated(node->notices, CONTAINER_OF(p, struct node_volume, published));
    check_conditions(node, CONTAINER_OF(p, struct node_volume, published));
}

static void on_volume_submitted(void *userdata)
{
    const struct node *node = userdata;

    node_volume_events_check_later(node->events);
}

static int start_observers(struct node *node)
{
    node->observer = (struct published_observer){.changed = on_volume_changed,
                                                 .submitted = on_volume_submitted,
                                                 .updated = on_volume_updated,
                                                 .userdata = node};
    return node_metrics_new(node_scrape_collect, &node->scrape, &node->metrics);
}

/* Before there is a volume to observe. */
static int start_events(struct node *node)
{
    const struct node_volume_events_options options = {
        .driver_name = node->options->driver_name,
        .node_id = node->options->node_id,
        .metrics = node->metrics,
        .volumes = node->volumes,
        .check_after = NODE_VOLUME_EVENTS_CHECK_AFTER,
    };

    return node_volume_events_new(node->daemon.event, &options, &node->events);
}

static int start_notices(struct node *node)
{
    const struct node_volume_notices_options options = {
        .metrics = node->metrics,
        .events = node->events,
        .volumes = node->volumes,
        .file_systems = node->file_systems,
        .commands = node->commands,
    };

    return node_volume_notices_new(node->daemon.event, &options, &node->notices);
}

static void on_live_mounted(void *userdata, const struct session *session)
{
    const struct node *node = userdata;

    if (node->status != NULL) /* else start_status() does it */
        node_status_serve(node->status, NODE_FS_LIVE, session);
}

static void on_stored_again(void *userdata)
{
    const struct node *node = userdata;

    kept_sockets_store_again(node->sockets);
}

static void on_file_system_failed(void *userdata, const struct error *reason)
{
    struct node *node = userdata;
    struct error e = *reason;

    error_prefix(&e, -EIO, "cannot continue");
    daemon_fail(&node->daemon, &e);
}

static int start_audit(struct node *node, struct error *e)
{
    const char *target = node->options->audit;

    return target != NULL ? audit_new(node->daemon.event, target, &node->audit, e) : 0;
}

static int start_file_systems(struct node *node, struct error *e)
{
    const struct node_file_systems_options options = {
        .run_dir = node->options->run_dir,
        .source = node->options->driver_name,
        .watchdog = node->daemon.watchdog,
        .fd_store = node->fd_store,
        .notes_consumers = node->options->notes_consumers,
        .audit = node->audit,
        .live_mounted = on_live_mounted,
        .stored_again = on_stored_again,
        .failed = on_file_system_failed,
        .userdata = node,
    };
    int r = node_file_systems_new(node->daemon.event, &options, &node->file_systems, e);

    if (r < 0)
        return r;
    node->source_log = LOG_LIMIT_INIT(SOURCE_LOG_LINES, SOURCE_LOG_PERIOD);
    node->volume_context = (struct node_volume_context){
        .event = node->daemon.event,
        .file_systems = node->file_systems,
        .source_log = &node->source_log,
        .observer = &node->observer,
        .keeps_previous = node->options->keeps_previous,
        .commands = node->commands,
    };
    return 0;
}

/* ---- identities and pods */

static void on_identity_gone(void *userdata, const struct identity *identity)
{
    const struct node *node = userdata;

    /* the sources of pods' identities share a client, which stays */
    node_metrics_retain_source(node->metrics, identity->source, !identity->is_of_pod);
    if (node->events != NULL)
        node_volume_events_forget(node->events, identity->source);
}

static int start_identities(struct node *node)
{
    const struct identities_options options = {
        .rights = node->options->rights,
        .place = node->options->place,
        .rate_limit = node->options->rate_limit,
        .kubelet_root = node->options->kubelet_root,
        .gone = on_identity_gone,
        .userdata = node,
    };

    return identities_new(node->daemon.event, &options, &node->identities);
}

/* With the program's own credentials: of the kubelet, its kubeconfig, or its service account. */
static int open_own_source(void *userdata, struct source **ret_source, struct error *e)
{
    static const struct identity_place own;
    struct node *node = userdata;
    int r = 0;

    if (node->options->place.manifests != NULL)
        return error_set(e, -EOPNOTSUPP, "objects come from manifests, which do not contain pods");
    if (node->own_identity == NULL)
        r = identities_get_place(node->identities, &own, &node->own_identity, e);
    if (r == 0)
        *ret_source = node->own_identity->source;
    return r;
}

/* A node_volume_visit_fn. */
static bool on_pod_of_volume(void *userdata, struct node_volume *volume)
{
    node_volume_on_pod(volume, userdata);
    return true;
}

static void on_pod_changed(void *userdata, const struct pod *pod)
{
    const struct node *node = userdata;

    if (node->pod_source != NULL)
        pod_source_on_pod(node->pod_source, pod);
    if (node->volumes != NULL && pod != NULL)
        node_volumes_visit(node->volumes, on_pod_of_volume, (void *)(uintptr_t)pod);
    if (pod != NULL)
        lost_mounts_on_pod(node->lost_mounts, pod);
}

static void on_allocatable_changed(void *userdata)
{
    const struct node *node = userdata;

    pod_source_on_node(node->pod_source);
}

static int start_pods(struct node *node)
{
    const struct node_pods_options options = {.driver_name = node->options->driver_name,
                                              .node_name = node->options->node_id,
                                              .api = &node->api,
                                              .changed = on_pod_changed,
                                              .userdata = node};
    int r;

    node->api = (struct node_api){
        .calls = &exchange_calls_of_api_source, .open = open_own_source, .userdata = node};
    r = node_pods_new(node->daemon.event, &options, &node->pods);

    node->volume_context.known_pods = node->pods;
    return r;
}

/* What volumes show of their pods. */
static int start_pod_source(struct node *node)
{
    const struct allocatable_options options = {.node_name = node->options->node_id,
                                                .api = &node->api,
                                                .changed = on_allocatable_changed,
                                                .userdata = node};
    struct pod_source_options source = {
        .node_name = node->options->node_id, .pods = node->pods, .api = &node->api};
    int r = allocatable_new(node->daemon.event, &options, &node->allocatable);

    source.allocatable = node->allocatable;
    if (r == 0)
        r = pod_source_new(node->daemon.event, &source, &node->pod_source);
    if (r == 0)
        node->volume_context.pods = pod_source_store(node->pod_source);
    return r;
}

/* ---- conditions */

/* They are written with the credentials that read pods. */
static int start_conditions(struct node *node)
{
    const struct pod_conditions_options options = {
        .is_default = node->options->reports_conditions,
        .metrics = node->metrics,
        .volumes = node->volumes,
        .pods = node->pods,
        .api = &node->api,
    };

    if (node->options->place.manifests != NULL)
        return 0;
    return pod_conditions_new(node->daemon.event, &options, &node->conditions);
}

/* ---- services */

static int start_csi(struct node *node, struct error *e)
{
    bool offers_idmap = node_file_systems_offer_idmap(node->file_systems);
    const struct csi_service_context context = {
        .event = node->daemon.event,
        .options = node->options,
        .target_root = node->target_root,
        .volume_context = &node->volume_context,
        .volumes = node->volumes,
        .identities = node->identities,
        .pods = node->pods,
        .metrics = node->metrics,
        .old_kernel = offers_idmap ? NULL : node->kernel.release,
        .sockets = node->sockets,
        .changed = on_parts_changed,
        .userdata = node,
    };

    if (uname(&node->kernel) < 0)
        return error_set_errno(e, negative_errno(), "cannot read the kernel's release");
    return csi_service_new(&context, &node->csi, e);
}

static int start_status(struct node *node, struct error *e)
{
    const struct node_status_context context = {
        .event = node->daemon.event,
        .options = node->options,
        .started_at = node->started_at,
        .file_systems = node->file_systems,
        .volumes = node->volumes,
        .identities = node->identities,
        .pods = node->pods,
        .csi = node->csi,
        .sockets = node->sockets,
    };
    int r = node_status_new(&context, &node->status);

    if (r < 0)
        return error_set_errno(e, r, "cannot start");
    node_status_serve(node->status, NODE_FS_STANDARD,
                      node_file_systems_session(node->file_systems, NODE_FS_STANDARD));
    if (node_file_systems_session(node->file_systems, NODE_FS_LIVE) != NULL)
        node_status_serve(node->status, NODE_FS_LIVE,
                          node_file_systems_session(node->file_systems, NODE_FS_LIVE));
    return 0;
}

static int start_health(struct node *node, struct error *e)
{
    const struct node_health_context context = {
        .event = node->daemon.event,
        .options = node->options,
        .watchdog = node->daemon.watchdog,
        .file_systems = node->file_systems,
        .volumes = node->volumes,
        .identities = node->identities,
        .csi = node->csi,
        .sockets = node->sockets,
    };
    int r = node_health_new(&context, &node->health);

    return r < 0 ? error_set_errno(e, r, "cannot start") : 0;
}

static int start_control(struct node *node, struct error *e)
{
    int r =
        node_control_new(node->daemon.event, node->options->run_dir, node->volumes, &node->control);

    return r < 0 ? error_set_errno(e, r, "cannot start") : 0;
}

static int start_pages(struct node *node, struct error *e)
{
    const struct node_pages_context context = {
        .event = node->daemon.event,
        .options = node->options,
        .metrics = node->metrics,
        .health = node->health,
        .sockets = node->sockets,
        .ui = {.status = node->status, .volumes = node->volumes, .metrics = node->metrics},
    };

    node->scrape = (struct node_scrape){
        .file_systems = node->file_systems,
        .volumes = node->volumes,
        .identities = node->identities,
        .csi = node->csi,
        .audit = node->audit,
        .commands = node->commands,
    };
    return node_pages_new(&context, &node->pages, e);
}

static int start_static_volumes(struct node *node, struct error *e)
{
    const struct static_reconciler_context context = {
        .event = node->daemon.event,
        .volumes_dir = node->options->volumes_dir,
        .run_dir = node->options->run_dir,
        .volume_context = &node->volume_context,
        .volumes = node->volumes,
        .identities = node->identities,
        .changed = on_parts_changed,
        .userdata = node,
    };

    return static_reconciler_new(&context, &node->static_volumes, e);
}

/* Of a pod, or recorded: then a file may define it. */
static bool is_recorded(void *userdata, const char *id)
{
    const struct node *node = userdata;

    return node_volumes_find(node->volumes, id) != NULL ||
           node_file_systems_find_record(node->file_systems, id) != NULL;
}

static bool is_awaited(void *userdata, const char *id)
{
    const struct node *node = userdata;

    return node_volumes_find(node->volumes, id) != NULL ||
           static_reconciler_awaits(node->static_volumes, id);
}

/*
 * Precedes the first call of the kubelet: that may be for one of them. Directories that are not
 * recorded go before a static volume is published, as it may have the name of one.
 */
static int take_volumes_over(struct node *node, struct error *e)
{
    int r = csi_service_take_over(node->csi, e);

    if (r < 0)
        return r;
    node_file_systems_remove_leftovers(node->file_systems, is_recorded, node);
    r = start_static_volumes(node, e); /* the first that may mount the live file system */
    if (r == 0)
        node_file_systems_remove_leftovers(node->file_systems, is_awaited, node);
    return r;
}

/* ---- what an earlier daemon has left for good */

static int post_lost(void *userdata, const struct pod_event *event)
{
    const struct node *node = userdata;

    return node_volume_events_post(node->events, node->own_identity->source, event);
}

/* Pods are watched, but the watch has brought none yet. A failure ends nothing. */
static void find_lost_mounts(struct node *node)
{
    _cleanup_(freep) char *root = realpath(node->target_root, NULL);
    struct lost_mounts_options options = {
        .driver_name = node->options->driver_name,
        .target_root = root != NULL ? root : node->target_root,
        .devices = {node_file_systems_device(node->file_systems, NODE_FS_STANDARD)},
        .retry_after = LOST_MOUNTS_RETRY_AFTER,
        .post = post_lost,
        .userdata = node,
    };
    int r;

    if (node_file_systems_session(node->file_systems, NODE_FS_LIVE) != NULL)
        options.devices[1] = node_file_systems_device(node->file_systems, NODE_FS_LIVE);
    r = lost_mounts_new(node->daemon.event, &options, &node->lost_mounts);
    if (r == 0)
        r = mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", lost_mounts_note, node->lost_mounts);
    if (r < 0)
        log_warn("cannot look for mounts of earlier daemons", "error", strerror(-r));
    if (r < 0 || !lost_mounts_report(node->lost_mounts))
        node->lost_mounts = lost_mounts_free(node->lost_mounts);
}

static int start_services(struct node *node, struct error *e)
{
    int r = start_identities(node);

    if (r == 0)
        r = start_pods(node);
    if (r == 0)
        r = start_pod_source(node);
    if (r == 0)
        r = node_volumes_new(node->daemon.event, &node->volumes);
    if (r == 0)
        r = start_events(node);
    if (r == 0)
        r = start_notices(node);
    if (r == 0)
        r = start_conditions(node);
    if (r < 0)
        return error_set_errno(e, r, "cannot start");
    r = start_csi(node, e);
    if (r == 0)
        r = start_status(node, e);
    if (r == 0)
        r = start_health(node, e);
    if (r == 0)
        r = start_pages(node, e);
    if (r == 0)
        r = start_control(node, e);
    if (r == 0)
        r = take_volumes_over(node, e);
    if (r == 0)
        kept_sockets_drop_rest(node->sockets);
    if (r == 0)
        find_lost_mounts(node);
    return r;
}

/* ---- the daemon */

/* May wait for the end of an earlier process. */
static int open_store(struct node *node, struct error *e)
{
    int r = fd_store_new(NULL, &node->fd_store, e);

    if (r < 0)
        return r;
    r = kept_sockets_new(node->fd_store, &node->sockets);
    return r < 0 ? error_set_errno(e, r, "cannot start") : 0;
}

static int node_start(struct daemon *daemon, struct error *e)
{
    struct node *node = CONTAINER_OF(daemon, struct node, daemon);
    int r = node_check_host(node->options, e);

    if (r == 0)
        r = open_store(node, e);
    if (r == 0)
        r = open_run_dir(node, e);
    if (r == 0)
        r = secmem_harden(e); /* memory that cannot be locked is reported by on_parts_changed() */
    if (r < 0)
        return r;
    r = commands_new(node->daemon.event, &node->options->commands, &node->commands, e);
    if (r < 0)
        return r;
    daemon_restrict(CONFINEMENT_NODE, node->commands);
    r = start_observers(node);
    if (r < 0)
        return error_set_errno(e, r, "cannot set up metrics");
    r = start_audit(node, e);
    if (r == 0)
        r = start_file_systems(node, e);
    if (r == 0)
        r = start_services(node, e);
    if (r < 0)
        return r;
    log_info(
        "serving", "driver", node->options->driver_name, "node", node->options->node_id, "rights",
        node->options->place.manifests == NULL ? node_rights_name(node->options->rights) : NULL,
        "endpoint", node->options->endpoint);
    on_parts_changed(node);
    node->is_serving = true;
    service_manager_ready();
    return 0;
}

static void node_reload(struct daemon *daemon)
{
    const struct node *node = CONTAINER_OF(daemon, struct node, daemon);

    log_info("reloading static volumes and removing volumes of deleted pods");
    audit_reopen(node->audit);
    static_reconciler_refresh(node->static_volumes);
    csi_service_remove_orphans(node->csi);
}

static bool has_failed(const struct node *node)
{
    return node->daemon.failure.text[0] != '\0';
}

/* A process that has failed is followed by another one, too. */
static bool is_due(const struct node *node)
{
    return node->file_systems != NULL &&
           node_file_systems_are_handed_over(node->file_systems, node->daemon.must_hand_over ||
                                                                     !node->is_serving ||
                                                                     has_failed(node));
}

/* The next process takes it over, with its mount. */
static bool leave_volume(void *userdata, struct node_volume *volume)
{
    node_volume_leave(volume);
    return true;
}

static bool leave_dead_volume(void *userdata, struct node_volume *volume)
{
    node_volume_leave_dead(volume);
    return true;
}

/* In the order of calls, from callers to sources, so that no callback reaches a freed object. */
static void node_stop(struct daemon *daemon)
{
    struct node *node = CONTAINER_OF(daemon, struct node, daemon);
    bool is_handed_over = is_due(node);

    if (is_handed_over)
        kept_sockets_leave(node->sockets);
    if (is_handed_over && node->volumes != NULL)
        node_volumes_visit(node->volumes, leave_volume, node);
    else if (has_failed(node) && node->volumes != NULL)
        node_volumes_visit(node->volumes, leave_dead_volume, node);
    node_pages_free(node->pages);
    node->control = node_control_free(node->control);
    node->health = node_health_free(node->health);
    node->status = node_status_free(node->status);
    node->csi = csi_service_free(node->csi);
    static_reconciler_free(node->static_volumes);
    node->conditions = pod_conditions_free(node->conditions);
    node_volume_notices_free(node->notices);
    node_volumes_free(node->volumes);
    node->pod_source = pod_source_free(node->pod_source);
    allocatable_free(node->allocatable);
    node_pods_free(node->pods);
    lost_mounts_free(node->lost_mounts);
    identity_unref(node->own_identity);
    identities_free(node->identities);
    node_volume_events_free(node->events);
    node_metrics_free(node->metrics);
    if (is_handed_over)
        node_file_systems_hand_over(node->file_systems);
    else
        node_file_systems_free(node->file_systems);
    kept_sockets_free(node->sockets);
    audit_free(node->audit);
    commands_free(node->commands);
    free(node->target_root);
    node->lock_fd = fd_close(node->lock_fd);
    fd_store_free(node->fd_store); /* last: the next process, which waits for its turn, begins */
}

int node_run(const struct node_options *options, struct error *e)
{
    static const struct daemon_ops ops = {
        .start = node_start, .reload = node_reload, .stop = node_stop};
    struct node node = {.options = options, .started_at = clock_wall(), .lock_fd = -1};

    return daemon_run(&node.daemon, &ops, NULL, e);
}
