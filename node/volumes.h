/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of a node, by their ids.
 *
 * Thread: the event loop's.
 */
#include "node/volume.h"

struct node_volumes;

/* Return: 0, *ret_volumes is the caller's; -errno of the event loop; -ENOMEM. */
int node_volumes_new(sd_event *event, struct node_volumes **ret_volumes);
/* All that are left are freed. Return: NULL. */
struct node_volumes *node_volumes_free(struct node_volumes *volumes);
DEFINE_CLEANUP(struct node_volumes *, node_volumes_free)

/* @volume_consumed: has an id that no other has. Return: 0; -ENOMEM, then it is freed. */
int node_volumes_add(struct node_volumes *volumes, struct node_volume *volume_consumed);

/* Return: borrowed, or NULL. */
struct node_volume *node_volumes_find(const struct node_volumes *volumes, const char *id);

/* Free one of them. Not from within its callbacks. */
void node_volumes_remove(struct node_volumes *volumes, struct node_volume *volume);
/* Free one of them as soon as the loop comes round; it is not found any more. */
void node_volumes_drop(struct node_volumes *volumes, struct node_volume *volume);
/* Free those that were dropped now. */
void node_volumes_sweep(struct node_volumes *volumes);

size_t node_volumes_count(const struct node_volumes *volumes);

/* In the order of their numbers. It may drop the volume. Return: whether to go on. */
typedef bool node_volume_visit_fn(void *userdata, const struct node_volume *volume);
void node_volumes_visit(const struct node_volumes *volumes, node_volume_visit_fn *visit,
                        void *userdata);
