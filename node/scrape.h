/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The collection of a node's metrics: reads the states that are not counted as events happen.
 *
 * Thread: the event loop's.
 */
#include "node/csi_service.h"

/* What is read; borrowed. */
struct node_scrape {
    const struct node_file_systems *file_systems;
    struct node_volumes *volumes;
    const struct identities *identities;
    const struct csi_service *csi;
    struct audit *audit;             /* NULL: none */
    const struct commands *commands; /* the same */
    uint64_t swept; /* scrape.c's: number of the last volume whose consumers were swept */
};

/* For node_metrics_new(). @userdata: a struct node_scrape, filled before the first rendering. */
void node_scrape_collect(void *userdata, struct node_metrics *metrics);
