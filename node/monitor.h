/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What can be seen of a node from outside: its status, its metrics and its health. See
 * docs/internals/seeing.md.
 *
 * Thread: the event loop's.
 */
#include "node/node.h"

struct node_monitor;

/*
 * Answer to those who ask, as soon as the loop runs. Precedes the node's volumes.
 * @node: borrowed
 * Return: 0, *ret_seeing is the caller's; -errno with @e.
 */
int node_monitor_new(struct node *node, struct node_monitor **ret_seeing, struct error *e);
/* Return: NULL. */
struct node_monitor *node_monitor_free(struct node_monitor *seeing);
DEFINE_CLEANUP(struct node_monitor *, node_monitor_free)

/* The same for who asks by a path in another file system of the node; at most two have room. */
void node_monitor_serve(struct node_monitor *seeing, const struct session *session);

/* ---- what happens, for those who see it */

void node_monitor_answered(struct node_monitor *seeing, const char *method, const char *code,
                           span_us took);
void node_monitor_changed(struct node_monitor *seeing, struct node_volume *volume);
void node_monitor_updated(struct node_monitor *seeing, const struct node_volume *volume);
void node_monitor_identity_gone(struct node_monitor *seeing, const struct identity *identity);
