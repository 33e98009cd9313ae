/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The node daemons of a cluster that are pods of the DaemonSet, and a command that runs in each of
 * them, by `kubectl exec`.
 *
 * Thread: the caller's; cluster_run() has helpers of its own and returns when they have ended.
 */
#include <getopt.h>

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

/* Which daemons. Strings are borrowed. */
struct cluster_choice {
    struct kubectl kubectl;
    const char *node;      /* only that one; NULL: all */
    const char *driver;    /* NULL: the default name */
    const char *namespace; /* of the DaemonSet; NULL: any */
};

/* The options for it, for a command's table; numbers that no other option has. */
enum { CLUSTER_OPTION_NODE = 528, CLUSTER_OPTION_DRIVER, CLUSTER_OPTION_NAMESPACE };
#define CLUSTER_LONG_OPTIONS                                                                       \
    {"node", required_argument, NULL, CLUSTER_OPTION_NODE},                                        \
        {"driver", required_argument, NULL, CLUSTER_OPTION_DRIVER},                                \
        {"driver-namespace", required_argument, NULL, CLUSTER_OPTION_NAMESPACE},                   \
        KUBECTL_LONG_OPTIONS
#define CLUSTER_OPTIONS_HELP                                                                       \
    "      --node NODE          only this node\n"                                                  \
    "      --driver NAME        the driver's name (default: csi.secretfs.io)\n"                    \
    "      --driver-namespace NS  only DaemonSets of this namespace\n"                             \
    "      --kubeconfig FILE    kubectl's kubeconfig\n"                                            \
    "      --context NAME       context of the kubeconfig to use\n"

/* Take one of them. Return: 1; 0 if @option is none; -EINVAL with @e. */
int cluster_set_option(struct cluster_choice *choice, int option, const char *value,
                       struct error *e);
/* Whether one of them was given. */
bool cluster_option_is_given(const struct cluster_choice *choice);

struct cluster {
    struct cluster_choice choice;
    struct cluster_daemon *list; /* sorted by node */
    size_t n;
    size_t n_allocated;
};

void cluster_deinit(struct cluster *cluster);

/*
 * Find the daemons.
 * @cluster: only the choice is set
 * Return: 0; -ENOENT with @e if there are none; -EEXIST if pods of several namespaces say that they
 * are the driver's; -E2BIG above CLUSTER_NODES_MAX; -EIO if kubectl fails; -EINVAL for an invalid
 * answer; -ENOMEM; with @e.
 */
int cluster_find(struct cluster *cluster, struct error *e);

/*
 * Run a command of secretfs in each daemon, in several at a time. The outcomes are in the daemons.
 * @words: the command and its options, NULL-terminated
 */
void cluster_run(struct cluster *cluster, const char *const words[]);

/* Why a daemon's command failed, in one line: "node NAME: ...". Return: -EIO. */
int cluster_error(const struct cluster_daemon *daemon, struct error *e);
