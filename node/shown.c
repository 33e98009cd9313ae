/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target has to show the directory of the volume in the file system that was taken over; the
 * mount may have been made in another mount namespace. Its content is read from the tree.
 */
#include "node/shown.h"

int node_shown_find(struct node_file_systems *file_systems, const struct target_area *area,
                    const char *id, const char *target, struct node_shown *ret_shown,
                    struct error *e)
{
    struct node_shown shown = {.payload = NULL};
    int r = node_file_systems_find_directory(file_systems, id, &shown.fs, &shown.node);

    if (r == 0 &&
        !target_find_mount(area, target,
                           session_device(node_file_systems_session(file_systems, shown.fs)),
                           shown.node, &shown.mount_id))
        r = -ESTALE;
    if (r < 0)
        return error_set(e, -ESTALE, "the target %s does not show the volume", target);
    r = node_file_systems_read_shown(file_systems, shown.fs, shown.node, &shown.payload,
                                     shown.generation, e);
    if (r < 0)
        return r == -ENOMEM ? r : -ESTALE;
    *ret_shown = shown;
    return 0;
}

void node_shown_deinit(struct node_shown *shown)
{
    payload_unref(shown->payload);
    free(shown->orders);
    *shown = (struct node_shown){.payload = NULL};
}
