/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What an earlier process of the service shows on a target, for a volume that goes on with it.
 *
 * Thread: the event loop's.
 */
#include "node/file_systems.h"
#include "node/target.h"
#include "volume/volume.h"

struct node_shown {
    enum node_fs fs;
    uint64_t node; /* of the volume's directory */
    struct payload *payload;
    char generation[GENERATION_NAME_SIZE];
    uint64_t mount_id;                /* of the mount on the target */
    struct volume_kept_order *orders; /* of its record, set by the caller; NULL: none */
    uint64_t notified;                /* the same; see volume_record.h */
};

/*
 * @id: of the volume; the name of its directory
 * Return: 0, node_shown_deinit() is due; -ESTALE with @e: the target does not show the volume, or
 * there is none; -ENOMEM with @e.
 */
int node_shown_find(struct node_file_systems *file_systems, const struct target_area *area,
                    const char *id, const char *target, struct node_shown *ret_shown,
                    struct error *e);
void node_shown_deinit(struct node_shown *shown);
