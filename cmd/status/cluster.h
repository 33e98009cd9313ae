/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The status of all volumes of a cluster, from the daemons that are pods. */
#include "cmd/cluster/daemons.h"
#include "encoding/json.h"

struct status_cluster {
    struct cluster_choice choice;
    const char *selector; /* of pods' labels, as kubectl's -l; NULL: any pod, and static volumes */
};

/*
 * Request the volumes.
 * Return: 0, *ret_list is the caller's: as of status_request_all(), each item with its "node", and
 * "errors" with a text for each node that does not answer; -errno with @e.
 */
int status_request_cluster(const struct status_cluster *from, bool is_debug, cJSON **ret_list,
                           struct error *e);

/*
 * Add the document of one daemon, `secretfs status -o json`.
 * Return: 0; -EINVAL for an invalid document, -E2BIG, -ENOMEM; with @e.
 */
int status_cluster_add(const char *node, const char *document, size_t len, cJSON *list,
                       struct error *e);
