/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What can be seen of a node from outside: its status, its metrics and its health. See
 * docs/internals/seeing.md.
 *
 * Thread: the event loop's.
 */
#include "daemon/node.h"

struct node_seeing;

/*
 * Answer to those who ask, as soon as the loop runs. Precedes the node's volumes.
 * @node: borrowed
 * Return: 0, *ret_seeing is the caller's; -errno with @e.
 */
int node_seeing_new(struct node *node, struct node_seeing **ret_seeing, struct error *e);
/* Return: NULL. */
struct node_seeing *node_seeing_free(struct node_seeing *seeing);
DEFINE_CLEANUP(struct node_seeing *, node_seeing_free)

/* The same for who asks by a path in another file system of the node; at most two have room. */
void node_seeing_serve(struct node_seeing *seeing, const struct session *session);

/* ---- what happens, for those who see it */

void node_seeing_answered(struct node_seeing *seeing, const char *method, const char *code,
                          span_us took);
void node_seeing_changed(struct node_seeing *seeing, struct node_volume *volume);
void node_seeing_updated(struct node_seeing *seeing, const struct node_volume *volume);
void node_seeing_identity_gone(struct node_seeing *seeing, const struct identity *identity);
