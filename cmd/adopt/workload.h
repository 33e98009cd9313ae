/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The pods in a document: a pod itself, the template of a workload, and those in lists. */
#include "cmd/adopt/spot.h"

/*
 * @pod: with metadata and spec
 * Return: 0; -errno with @e, which ends the walk.
 */
typedef int workload_fn(void *userdata, struct spot pod, struct error *e);

/* Return: whether a document is of a kind that has pods, or is a list. */
bool workload_is_known(const cJSON *document);

/*
 * Call @found for each pod of the document: a Pod, PodTemplate, Deployment, StatefulSet, DaemonSet,
 * ReplicaSet, ReplicationController, Job or CronJob, and what lists have of these.
 * Return: 0, or what @found returns.
 */
int workload_each(struct spot document, workload_fn *found, void *userdata, struct error *e);
