/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The pods of a cluster that mount an object, from the API server by kubectl. */
#include "cmd/rollout/verdict.h"
#include "cmd/shared/kubectl.h"

/* Strings are borrowed. */
struct rollout_cluster {
    struct kubectl kubectl;
    const char *driver;           /* of the pods' volumes */
    const char *namespace;        /* NULL: kubectl's */
    const char *object;           /* "secret/NAME", "configmap/NAME" */
    const char *resource_version; /* NULL: the newest that the API server has */
};

/*
 * Judge the pods.
 * @cluster: with an object that rollout_object_check() accepts
 * @lines, @reasons: as for rollout_judge()
 * Return: 0; -ENOENT if no pod mounts the object; -EIO if kubectl fails; -errno; with @e.
 */
int rollout_cluster_judge(const struct rollout_cluster *cluster,
                          struct rollout_verdict *ret_verdict, struct buf *lines,
                          struct buf *reasons, struct error *e);
