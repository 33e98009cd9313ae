/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The node daemon: one file system, a directory in it for each volume, and whoever asks for
 * volumes. See node.c.
 *
 * Thread: the event loop's.
 */
#include "node/options.h"
#include "node/volumes.h"
#include "serve/daemon.h"
#include "serve/file_system.h"

struct csi_service;
struct node_monitor;
struct static_reconciler;

/* Members are for looking at. */
struct node {
    struct daemon daemon;
    const struct node_options *options;
    struct timespec started_at;
    sd_event *event; /* the daemon's */
    int lock_fd;
    char *target_root; /* KUBELET_ROOT/pods */

    struct file_system *standard;
    struct mount_monitor *mount_monitor;
    struct file_system *live; /* see enum node_fs; NULL until the first such volume */
    struct log_limit source_log;
    struct node_volume_host host;

    struct identities *identities;
    struct identity *pods_identity; /* a reference; NULL until pods were read */
    struct node_pods *pods;
    struct node_volumes *volumes;
    struct csi_service *csi;
    struct static_reconciler *static_volumes;
    struct node_monitor *seeing;
    bool has_warned; /* of memory that is not locked */
};

/*
 * Serve until told to end by a signal.
 * Return: 0; -errno with @e when it did not get that far, or could not go on.
 */
int node_run(const struct node_options *options, struct error *e);

/* Whether what volumes are in can be read. */
bool node_is_serving(const struct node *node);
/* Add the FUSE requests so far. */
void node_count_requests(const struct node *node, struct request_counts *counts);

/* What it is about, for a service manager's status line. */
void node_tell_status(struct node *node);
