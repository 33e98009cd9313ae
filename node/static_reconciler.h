/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of a node that files ask for, and not pods.
 *
 * Thread: the event loop's.
 */
#include "node/node.h"

struct static_reconciler;

/* Begin with what is there now. @node: borrowed. Return: 0, *ret_static is the caller's; -errno, @e
 */
int static_reconciler_new(struct node *node, struct static_reconciler **ret_static,
                          struct error *e);
/* Precedes the end of the node's volumes. Return: NULL. */
struct static_reconciler *static_reconciler_free(struct static_reconciler *all);
DEFINE_CLEANUP(struct static_reconciler *, static_reconciler_free)

/* Look at the files now. */
void static_reconciler_refresh(struct static_reconciler *all);
