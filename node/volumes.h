/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of a node, by id. It owns them, by node_volume_ops.free().
 *
 * Thread: the event loop's.
 */
#include "node/volume.h"

struct node_volumes;

/* Return: 0, *ret_volumes is the caller's; -errno of the event loop; -ENOMEM. */
int node_volumes_new(sd_event *event, struct node_volumes **ret_volumes);
/* Frees all volumes. Return: NULL. */
struct node_volumes *node_volumes_free(struct node_volumes *volumes);
DEFINE_CLEANUP(struct node_volumes *, node_volumes_free)

/* @volume_consumed: its id must be unused. Return: 0; -ENOMEM, then it is freed. */
int node_volumes_add(struct node_volumes *volumes, struct node_volume *volume_consumed);

/* Return: borrowed, or NULL. */
struct node_volume *node_volumes_find(const struct node_volumes *volumes, const char *id);

/* Free a volume now. Not from within a callback of the volume. */
void node_volumes_remove(struct node_volumes *volumes, struct node_volume *volume);
/* Remove a volume from the index now, and free it in the next turn of the loop. */
void node_volumes_drop(struct node_volumes *volumes, struct node_volume *volume);
/* Free the dropped volumes now. Not from within a callback of one of them. */
void node_volumes_sweep(struct node_volumes *volumes);

/* Of the index: without dropped ones. */
size_t node_volumes_count(const struct node_volumes *volumes);

/* In the order of their numbers. @visit may drop the volume. Return: whether to continue. */
typedef bool node_volume_visit_fn(void *userdata, struct node_volume *volume);
void node_volumes_visit(struct node_volumes *volumes, node_volume_visit_fn *visit, void *userdata);
