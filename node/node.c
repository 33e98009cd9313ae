/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who calls whom:
 *
 *   kubelet -> csi/ -> csi_service ----+                 +-> published -> publisher -> tree
 *                                   +-> node_volume --+
 *   files -> static_volumes         |                 +-> target (mounts)
 *              -> static_reconciler ------+
 *
 * The file system is mounted on RUN_DIR/fs, read-only and for root's eyes only; a volume is shown
 * by a bind mount of its directory. Volumes with `updates: in-place`, and those that the pod mounts
 * by subPath, have another one beside it, RUN_DIR/fs-live, as what makes them costs a request for
 * each open file. Should RUN_DIR/fs be unmounted, volumes that are shown stay so; it is
 * mounted again for those that come later.
 *
 * One daemon serves a run directory; a lock says so. What one that died has left mounted is
 * detached before anything is served: nobody answers there any more. The kubelet publishes anew
 * what pods still need (S13).
 *
 * It starts, and tells the service manager that it is ready, whether or not the API server can be
 * reached: pods that need nothing of us are not to wait, and the kubelet is told by CSI about those
 * that do.
 */
#include "node/node.h"

#include <stdio.h>

#include "cache/secmem.h"
#include "fetcher/api/api_source.h"
#include "node/csi_service.h"
#include "node/monitor.h"
#include "node/run_dir.h"
#include "node/static_reconciler.h"
#include "serve/service_manager.h"

/* As many volumes as a person would look at; the others have the same trouble. */
#define SOURCE_LOG_LINES  10
#define SOURCE_LOG_PERIOD SPAN_SEC(10)

void node_tell_status(struct node *node)
{
    char text[128];

    snprintf(text, sizeof(text), "%zu volumes%s", node_volumes_count(node->volumes),
             node->csi == NULL || csi_service_is_registered(node->csi)
                 ? ""
                 : "; not registered with the kubelet");
    service_manager_status(text);
    if (!node->has_warned && secmem_unlocked_bytes() > 0) {
        node->has_warned = true;
        log_warn("secret memory is not locked and could be swapped; raise `ulimit -l` "
                 "(LimitMEMLOCK=)");
    }
}

/* ---- the file system */

static void on_file_system_failed(void *userdata, const struct error *reason)
{
    struct node *node = userdata;

    struct error e = *reason;

    error_prefix(&e, -EIO, "cannot go on");
    daemon_fail(&node->daemon, &e);
}

/* @name: of the directory in the run directory */
static int make_file_system(struct node *node, const char *name, bool answers_open,
                            struct file_system **ret_fs, struct error *e)
{
    _cleanup_(freep) char *mountpoint = NULL;
    struct file_system_options options = {.source = node->options->driver_name,
                                          .answers_open = answers_open,
                                          .monitor = node->mount_monitor};

    if (asprintf(&mountpoint, "%s/%s", node->options->run_dir, name) < 0)
        return error_set_errno(e, -ENOMEM, "cannot set the file system up");
    options.mountpoint = mountpoint;
    return file_system_new(node->event, &options, on_file_system_failed, node, ret_fs, e);
}

static int start_live(struct node *node, struct error *e)
{
    int r = make_file_system(node, RUN_DIR_MOUNT_LIVE, true, &node->live, e);

    if (r < 0)
        return r;
    assert(node->live != NULL);
    watchdog_add(node->daemon.watchdog, node->live->publisher);
    node_monitor_serve(node->seeing, node->live->session);
    return 0;
}

/* The live one is made for the first volume that goes there. */
static int choose_publisher(void *userdata, enum node_fs fs, struct publisher **ret_publisher,
                            struct error *e)
{
    struct node *node = userdata;
    int r = 0;

    if (fs == NODE_FS_LIVE && node->live == NULL)
        r = start_live(node, e);
    if (r == 0)
        *ret_publisher = (fs == NODE_FS_LIVE ? node->live : node->standard)->publisher;
    return r;
}

bool node_is_serving(const struct node *node)
{
    return !session_is_dead(node->standard->session) &&
           (node->live == NULL || !session_is_dead(node->live->session));
}

void node_count_requests(const struct node *node, struct request_counts *counts)
{
    session_count_requests(node->standard->session, counts);
    if (node->live != NULL)
        session_count_requests(node->live->session, counts);
}

static void on_volume_changed(void *userdata, struct node_volume *volume)
{
    const struct node *node = userdata;

    node_monitor_changed(node->seeing, volume);
}

static void on_volume_updated(void *userdata, const struct node_volume *volume)
{
    const struct node *node = userdata;

    node_monitor_updated(node->seeing, volume);
}

static int start_file_system(struct node *node, struct error *e)
{
    int r = mount_monitor_new(&node->mount_monitor, e);

    if (r == 0)
        r = make_file_system(node, RUN_DIR_MOUNT, false, &node->standard, e);
    if (r < 0)
        return r;
    node->source_log = LOG_LIMIT_INIT(SOURCE_LOG_LINES, SOURCE_LOG_PERIOD);
    node->host = (struct node_volume_host){
        .event = node->event,
        .choose_publisher = choose_publisher,
        .source_log = &node->source_log,
        .changed = on_volume_changed,
        .updated = on_volume_updated,
        .userdata = node,
    };
    watchdog_add(node->daemon.watchdog, node->standard->publisher);
    return 0;
}

/* ---- the places on disk */

static int choose_paths(struct node *node)
{
    if (asprintf(&node->target_root, "%s/pods", node->options->kubelet_root) < 0) {
        node->target_root = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int take_place(struct node *node, struct error *e)
{
    int r = choose_paths(node);

    if (r < 0)
        return error_set_errno(e, r, "cannot start");
    r = run_dir_open(node->options->run_dir, &node->lock_fd, e);
    if (r < 0)
        return r;
    r = run_dir_detach_leftovers(node->options->run_dir, node->options->driver_name,
                                 node->target_root, e);
    if (r > 0)
        log_warn("detached what an earlier process has left mounted", "mounts", LOG_NUM(r));
    return r < 0 ? r : 0;
}

/* ---- all of it */

static void on_identity_gone(void *userdata, const struct identity *identity)
{
    const struct node *node = userdata;

    node_monitor_identity_gone(node->seeing, identity);
}

/* With the program's own credentials: of the kubelet, its kubeconfig, or its service account. */
static int open_pods_source(void *userdata, struct source **ret_source, struct error *e)
{
    static const struct identity_place own;
    struct node *node = userdata;
    int r = 0;

    if (node->options->place.manifests != NULL)
        return error_set(e, -EOPNOTSUPP, "objects come from manifests, which say nothing of pods");
    if (node->pods_identity == NULL)
        r = identities_get_place(node->identities, &own, &node->pods_identity, e);
    if (r == 0)
        *ret_source = node->pods_identity->source;
    return r;
}

static int start_pods(struct node *node)
{
    static const struct node_pods_api api = {
        .open = open_pods_source,
        .send = api_source_send,
        .cancel = http_request_free,
        .version = api_source_version,
        .rejected = api_source_rejected,
    };
    const struct node_pods_options options = {.driver_name = node->options->driver_name,
                                              .node_name = node->options->node_id,
                                              .api = &api,
                                              .userdata = node};

    return node_pods_new(node->event, &options, &node->pods);
}

static int start_volumes(struct node *node, struct error *e)
{
    const struct identities_options identities = {
        .rights = node->options->rights,
        .place = node->options->place,
        .pace = node->options->pace,
        .kubelet_root = node->options->kubelet_root,
        .gone = on_identity_gone,
        .userdata = node,
    };
    int r = identities_new(node->event, &identities, &node->identities);

    if (r == 0)
        r = start_pods(node);
    if (r == 0)
        r = node_volumes_new(node->event, &node->volumes);
    if (r < 0)
        return error_set_errno(e, r, "cannot start");
    r = csi_service_new(node, &node->csi, e);
    if (r == 0)
        r = static_reconciler_new(node, &node->static_volumes, e);
    return r;
}

static int node_start(struct daemon *daemon, struct error *e)
{
    struct node *node = CONTAINER_OF(daemon, struct node, daemon);
    int r;

    node->event = daemon->event;

    if (geteuid() != 0)
        return error_set(e, -EPERM, "the node daemon mounts for others and has to be run as root");
    r = take_place(node, e);
    if (r == 0)
        r = secmem_harden(e); /* if not all can be locked, that is said of what is not */
    if (r >= 0)
        r = start_file_system(node, e);
    if (r == 0)
        r = node_monitor_new(node, &node->seeing, e);
    if (r == 0)
        r = start_volumes(node, e);
    if (r < 0)
        return r;
    log_info(
        "serving", "driver", node->options->driver_name, "node", node->options->node_id, "rights",
        node->options->place.manifests == NULL ? node_rights_name(node->options->rights) : NULL,
        "endpoint", node->options->endpoint);
    node_tell_status(node);
    service_manager_ready();
    return 0;
}

static void node_reload(struct daemon *daemon)
{
    const struct node *node = CONTAINER_OF(daemon, struct node, daemon);

    log_info("looking anew at the files of static volumes, and at the pods that there are");
    static_reconciler_refresh(node->static_volumes);
    csi_service_check(node->csi);
}

/* From the callers to the source, so that no callback reaches a freed object. */
static void node_stop(struct daemon *daemon)
{
    struct node *node = CONTAINER_OF(daemon, struct node, daemon);

    csi_service_free(node->csi);
    static_reconciler_free(node->static_volumes);
    node_volumes_free(node->volumes);
    node_pods_free(node->pods);
    node->pods_identity = identity_unref(node->pods_identity);
    identities_free(node->identities);
    node_monitor_free(node->seeing);
    file_system_free(node->live);
    file_system_free(node->standard);
    mount_monitor_free(node->mount_monitor);
    free(node->target_root);
    node->lock_fd = fd_close(node->lock_fd);
}

int node_run(const struct node_options *options, struct error *e)
{
    static const struct daemon_ops ops = {
        .start = node_start, .reload = node_reload, .stop = node_stop};
    struct node node = {.options = options, .started_at = clock_wall(), .lock_fd = -1};

    return daemon_run(&node.daemon, &ops, NULL, e);
}
