/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The node daemons of a cluster that are pods of the DaemonSet, and a command that runs in each of
 * them, by `kubectl exec`.
 *
 * Thread: the caller's; cluster_run() has helpers of its own and returns when they have ended.
 */
#include "base/buf.h"
#include "cmd/shared/kubectl.h"

#define CLUSTER_NODES_MAX 5000u /* as large as Kubernetes supports a cluster */

struct cluster_daemon {
    char *node;
    char *namespace; /* of the pod; NULL: the node has the driver, but no pod runs there */
    char *pod;
    int result;        /* of process_read(), after cluster_run() */
    struct buf output; /* what the command wrote */
    struct buf errors;
};

struct cluster {
    struct kubectl kubectl;
    const char *node;            /* only that one; NULL: all */
    struct cluster_daemon *list; /* sorted by node */
    size_t n;
    size_t n_allocated;
};

void cluster_deinit(struct cluster *cluster);

/*
 * Find the daemons.
 * @cluster: the first two members are set; the strings are borrowed
 * Return: 0; -ENOENT with @e if there are none; -E2BIG above CLUSTER_NODES_MAX; -EIO if kubectl
 * fails; -EINVAL for an invalid answer; -ENOMEM; with @e.
 */
int cluster_find(struct cluster *cluster, struct error *e);

/*
 * Run a command of secretfs in each daemon, in several at a time. The outcomes are in the daemons.
 * @words: the command and its options, NULL-terminated
 */
void cluster_run(struct cluster *cluster, const char *const words[]);

/* Why a daemon's command failed, in one line: "node NAME: ...". Return: -EIO. */
int cluster_error(const struct cluster_daemon *daemon, struct error *e);
