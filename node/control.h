/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Orders of the administrator for the volumes of a node, by `secretfs rollout`. See control.c.
 *
 * Thread: the event loop's.
 */
#include "node/volumes.h"

#define NODE_CONTROL_SOCKET "control.sock" /* in the run directory */

struct node_control;

/*
 * Take orders; a failure is logged.
 * @run_dir, @volumes: borrowed, outlive the object
 * Return: 0, *ret_control is the caller's; -ENOMEM.
 */
int node_control_new(sd_event *event, const char *run_dir, struct node_volumes *volumes,
                     struct node_control **ret_control);
/* Return: NULL. */
struct node_control *node_control_free(struct node_control *control);
DEFINE_CLEANUP(struct node_control *, node_control_free)
