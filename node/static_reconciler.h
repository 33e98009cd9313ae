/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of a node that files define (volumes.d), as opposed to pods. See static_reconciler.c.
 *
 * Thread: the event loop's.
 */
#include "node/volumes.h"

struct static_reconciler;

/* Borrowed; outlives the reconciler. */
struct static_reconciler_context {
    sd_event *event;
    const char *volumes_dir;
    const char *run_dir;
    const struct node_volume_context *volume_context;
    struct node_volumes *volumes;
    struct identities *identities;
    /* The number of volumes may have changed. */
    void (*changed)(void *userdata);
    void *userdata;
};

/* Scan the files. @context: copied. Return: 0, *ret_static is the caller's; -errno with @e. */
int static_reconciler_new(const struct static_reconciler_context *context,
                          struct static_reconciler **ret_static, struct error *e);
/* Precedes node_volumes_free(). Return: NULL. */
struct static_reconciler *static_reconciler_free(struct static_reconciler *all);
DEFINE_CLEANUP(struct static_reconciler *, static_reconciler_free)

/* Scan the files now, and retry what failed. */
void static_reconciler_refresh(struct static_reconciler *all);

/* Whether the volume of a valid file has this id; it may not exist yet. */
bool static_reconciler_awaits(const struct static_reconciler *all, const char *volume_id);

/*
 * @volume_id: of any volume of the node
 * Return: the name of the file that defines it, without its suffix, borrowed from @volume_id; NULL
 * for a pod's volume.
 */
const char *static_reconciler_name(const char *volume_id);
