/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The status of a node: a socket for each file system, which send the same document. See status.c.
 *
 * Thread: the event loop's.
 */
#include "node/csi_service.h"

struct node_status;

/* Borrowed; outlives the status. */
/* Bytes of a pod's labels in the document; those of a pod with more are left out. */
#define NODE_STATUS_LABELS_MAX 4096u

struct node_status_context {
    sd_event *event;
    const struct node_options *options;
    struct timespec started_at;
    const struct node_file_systems *file_systems;
    struct node_volumes *volumes;
    const struct identities *identities;
    const struct node_pods *pods;
    const struct csi_service *csi;
    struct kept_sockets *sockets;
};

/* @context: copied. Return: 0, *ret_status is the caller's; -ENOMEM. */
int node_status_new(const struct node_status_context *context, struct node_status **ret_status);
/* Return: NULL. */
struct node_status *node_status_free(struct node_status *status);
DEFINE_CLEANUP(struct node_status *, node_status_free)

/*
 * Parts of the document.
 * @is_debug: with what helps to debug
 * Return: the caller's; NULL when memory is short.
 */
cJSON *node_status_process(const struct node_status *status, bool is_debug);
cJSON *node_status_volume(const struct node_volume *volume, bool is_debug);

/* Open the socket of a file system, of which there are two at most. A failure is logged. */
void node_status_serve(struct node_status *status, enum node_fs fs, const struct session *session);
