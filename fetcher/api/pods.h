/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The pods of a node that have volumes of our driver, from a watch.
 *
 * A watch that begins without a version brings all pods again, as if they were new, and does not
 * report those that were deleted meanwhile. So pods are marked with the round in which they came
 * last; at the end of a round, those of earlier rounds are gone.
 */
#include "fetcher/api/pod.h"

/*
 * A kubelet runs 110 pods by default, and large nodes have been run with 500. Pods beyond the limit
 * are requested by name. A pod usually takes half a KiB, and one whose volumes need its details a
 * few KiB.
 */
#define PODS_MAX       2048u
/* Of all pods together: those with the largest details, 1 MiB, are requested by name beyond it. */
#define PODS_MAX_BYTES (32u << 20)

struct pods {
    struct list list; /* of struct pod; those that came last are at the end */
    size_t n;
    size_t n_bytes; /* of their allocations */
    unsigned round;
};

void pods_init(struct pods *pods);
void pods_deinit(struct pods *pods);

/*
 * Add or replace a pod. At the limit, a pod that has not come again in this round is dropped.
 * Return: the pod, borrowed; NULL if there is no room: then it is freed.
 */
const struct pod *pods_put(struct pods *pods, struct pod *pod_consumed);
/* Remove the pod with that uid, if it is known. */
void pods_remove(struct pods *pods, const char *uid);
/* Return: borrowed; NULL for an unknown pod. */
const struct pod *pods_find(const struct pods *pods, const char *namespace, const char *name,
                            const char *uid);

/* From now on all pods come again. */
void pods_begin_round(struct pods *pods);
/* All pods have come since pods_begin_round(): remove the others. */
void pods_end_round(struct pods *pods);
