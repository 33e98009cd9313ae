/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN_DIR/fs is mounted read-only, in a directory that only root can enter; a volume is shown to
 * its pod by a bind mount of its directory. Volumes with `updates: in-place`, and those that a
 * container mounts by subPath, are in RUN_DIR/fs-live instead, because live files cost a request
 * for each open.
 *
 * When RUN_DIR/fs is unmounted from outside, mounted volumes stay; it is mounted again for new
 * ones (serve/file_system.c).
 */
#include "node/file_systems.h"

#include <stdio.h>

#include "node/run_dir.h"

struct node_file_systems {
    sd_event *event;
    struct node_file_systems_options options;
    struct mount_monitor *mount_monitor;
    struct file_system *standard;
    struct file_system *live; /* NULL until the first volume that needs it */
};

/* @name: of the mount point in the run directory */
static int mount_one(struct node_file_systems *all, const char *name, bool answers_open,
                     struct file_system **ret_fs, struct error *e)
{
    _cleanup_(freep) char *mountpoint = NULL;
    struct file_system_options options = {
        .source = all->options.source, .answers_open = answers_open, .monitor = all->mount_monitor};
    int r;

    assert(*ret_fs == NULL);
    if (asprintf(&mountpoint, "%s/%s", all->options.run_dir, name) < 0)
        return error_set_errno(e, -ENOMEM, "cannot mount the file system");
    options.mountpoint = mountpoint;
    r = file_system_new(all->event, &options, all->options.failed, all->options.userdata, ret_fs,
                        e);
    if (r == 0)
        watchdog_add(all->options.watchdog, (*ret_fs)->publisher);
    return r;
}

int node_file_systems_new(sd_event *event, const struct node_file_systems_options *options,
                          struct node_file_systems **ret_all, struct error *e)
{
    _cleanup_(node_file_systems_freep) struct node_file_systems *all = calloc(1, sizeof(*all));
    int r;

    if (all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot mount the file system");
    all->event = sd_event_ref(event);
    all->options = *options;
    r = mount_monitor_new(&all->mount_monitor, e);
    if (r == 0)
        r = mount_one(all, RUN_DIR_MOUNT, false, &all->standard, e);
    if (r < 0)
        return r;
    *ret_all = TAKE(all);
    return 0;
}

struct node_file_systems *node_file_systems_free(struct node_file_systems *all)
{
    if (all == NULL)
        return NULL;
    all->live = file_system_free(all->live);
    all->standard = file_system_free(all->standard);
    if (all->live != NULL || all->standard != NULL)
        return NULL; /* the end of the process frees the rest */
    mount_monitor_free(all->mount_monitor);
    sd_event_unref(all->event);
    free(all);
    return NULL;
}

int node_file_systems_publisher(struct node_file_systems *all, enum node_fs fs,
                                struct publisher **ret_publisher, struct error *e)
{
    assert(fs != NODE_FS_UNDECIDED);
    if (fs == NODE_FS_LIVE && all->live == NULL) {
        int r = mount_one(all, RUN_DIR_MOUNT_LIVE, true, &all->live, e);

        if (r < 0)
            return r;
        assert(all->live != NULL);
        all->options.live_mounted(all->options.userdata, all->live->session);
    }
    *ret_publisher = (fs == NODE_FS_LIVE ? all->live : all->standard)->publisher;
    return 0;
}

const struct session *node_file_systems_session(const struct node_file_systems *all)
{
    return all->standard->session;
}

bool node_file_systems_are_serving(const struct node_file_systems *all)
{
    return !session_is_dead(all->standard->session) &&
           (all->live == NULL || !session_is_dead(all->live->session));
}

void node_file_systems_count_requests(const struct node_file_systems *all,
                                      struct request_counts *counts)
{
    session_count_requests(all->standard->session, counts);
    if (all->live != NULL)
        session_count_requests(all->live->session, counts);
}

struct tree_usage node_file_systems_usage(const struct node_file_systems *all)
{
    struct tree_usage usage = tree_usage(all->standard->tree), live;

    if (all->live == NULL)
        return usage;
    live = tree_usage(all->live->tree);
    usage.n_nodes += live.n_nodes;
    usage.content_bytes += live.content_bytes;
    usage.held_bytes += live.held_bytes;
    usage.n_dropped += live.n_dropped;
    return usage;
}

size_t node_file_systems_blocked_threads(const struct node_file_systems *all)
{
    size_t n = publisher_blocked_threads(all->standard->publisher);

    return all->live != NULL ? n + publisher_blocked_threads(all->live->publisher) : n;
}
