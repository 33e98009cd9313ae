/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The kubelet's side of a node: volumes that pods ask for through CSI.
 *
 * Thread: the event loop's.
 */
#include "csi/plugin.h"
#include "daemon/node.h"

struct node_csi;

/* Listen. @node: borrowed. Return: 0, *ret_csi is the caller's; -errno with @e. */
int node_csi_new(struct node *node, struct node_csi **ret_csi, struct error *e);
/* Answers no more; precedes the end of the node's volumes. Return: NULL. */
struct node_csi *node_csi_free(struct node_csi *csi);
DEFINE_CLEANUP(struct node_csi *, node_csi_free)

/* Whether the kubelet has taken the driver in, and may send volumes. */
bool node_csi_is_registered(const struct node_csi *csi);
/* Why it has not, in the kubelet's words; "" while it has said nothing. Borrowed. */
const char *node_csi_registration_error(const struct node_csi *csi);

/* Give up the volumes of pods whose directories are gone; it happens now and then by itself. */
void node_csi_check(struct node_csi *csi);
