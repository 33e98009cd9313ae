/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The pods of a node that have volumes of our driver, as a watch tells of them.
 *
 * A watch that begins without a version brings all pods again, as if they were new, and says
 * nothing of those that went meanwhile. So pods are marked with the round in which they came last;
 * when a round is over, those of earlier ones are gone.
 */
#include "fetcher/api/pod.h"

/*
 * A kubelet runs 110 pods unless it is told otherwise, and large nodes have been run with 500.
 * Others than the first so many are asked for by name. They take 10 MiB at the very worst, 300
 * bytes each as pods usually are.
 */
#define PODS_MAX 2048u

struct pods {
    struct list list; /* of struct pod; those that came last are at the end */
    size_t n;
    unsigned round;
};

void pods_init(struct pods *pods);
void pods_deinit(struct pods *pods);

/*
 * Add a pod, in the place of what was known of it. If there are too many, one that did not come
 * again in this round goes.
 * Return: the pod, borrowed; NULL when there is no room, then it is freed.
 */
const struct pod *pods_put(struct pods *pods, struct pod *pod_consumed);
/* The pod with that uid, if there is one, is gone. */
void pods_remove(struct pods *pods, const char *uid);
/* Return: borrowed; NULL if there is no such pod. */
const struct pod *pods_find(const struct pods *pods, const char *namespace, const char *name,
                            const char *uid);

/* All pods come again from now on. */
void pods_begin_round(struct pods *pods);
/* All pods have come since pods_begin_round(): those that have not are gone. */
void pods_end_round(struct pods *pods);
