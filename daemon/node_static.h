/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of a node that files ask for, and not pods.
 *
 * Thread: the event loop's.
 */
#include "daemon/node.h"

struct node_static;

/* Begin with what is there now. @node: borrowed. Return: 0, *ret_static is the caller's; -errno, @e
 */
int node_static_new(struct node *node, struct node_static **ret_static, struct error *e);
/* Precedes the end of the node's volumes. Return: NULL. */
struct node_static *node_static_free(struct node_static *all);
DEFINE_CLEANUP(struct node_static *, node_static_free)

/* Look at the files now. */
void node_static_refresh(struct node_static *all);
