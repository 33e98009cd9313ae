/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whether the pods that mount an object have its newest version, by their condition
 * secretfs.io/SecretsCurrent. Pure.
 */
#include "cache/object.h"
#include "cmd/rollout/verdict.h"

/* Strings are borrowed. */
struct rollout_pods_query {
    enum object_kind kind;
    const char *name;
    const char *driver;           /* of the pods' volumes */
    const char *resource_version; /* that the pods have to have, or a later one */
};

struct rollout_pods;

/* Return: 0, *ret_pods is the caller's; -ENOMEM. @query: borrowed, outlives the object */
int rollout_pods_new(const struct rollout_pods_query *query, struct rollout_pods **ret_pods);
/* Return: NULL. */
struct rollout_pods *rollout_pods_free(struct rollout_pods *pods);
DEFINE_CLEANUP(struct rollout_pods *, rollout_pods_free)

/*
 * Judge a pod, unless it has ended or does not mount the object by secretfs.
 * @pod: as the API server has it
 * Return: 0; -ENOMEM.
 */
int rollout_pods_add(struct rollout_pods *pods, const cJSON *pod);

/*
 * Sum up. n_volumes and n_consumers are the number of pods.
 * @lines, @reasons: as for rollout_judge()
 * Return: 0; -ENOMEM; -EFBIG at a buffer's limit.
 */
int rollout_pods_finish(const struct rollout_pods *pods, struct rollout_verdict *ret_verdict,
                        struct buf *lines, struct buf *reasons);
