/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The kubelet's side of a node: volumes that pods ask for through CSI.
 *
 * Thread: the event loop's.
 */
#include "csi/plugin.h"
#include "node/node.h"

struct csi_service;

/* Listen. @node: borrowed. Return: 0, *ret_csi is the caller's; -errno with @e. */
int csi_service_new(struct node *node, struct csi_service **ret_csi, struct error *e);
/* Answers no more; precedes the end of the node's volumes. Return: NULL. */
struct csi_service *csi_service_free(struct csi_service *csi);
DEFINE_CLEANUP(struct csi_service *, csi_service_free)

/* Whether the kubelet has taken the driver in, and may send volumes. */
bool csi_service_is_registered(const struct csi_service *csi);
/* Why it has not, in the kubelet's words; "" while it has said nothing. Borrowed. */
const char *csi_service_registration_error(const struct csi_service *csi);

/* Give up the volumes of pods whose directories are gone; it happens now and then by itself. */
void csi_service_check(struct csi_service *csi);
