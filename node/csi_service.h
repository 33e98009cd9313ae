/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes of pods, which the kubelet publishes and unpublishes through CSI. See csi_service.c.
 *
 * Thread: the event loop's.
 */
#include "csi/plugin.h"
#include "handover/kept_sockets.h"
#include "node/metrics.h"
#include "node/options.h"
#include "node/volumes.h"

struct csi_service;

/* Borrowed; outlives the service. */
struct csi_service_context {
    sd_event *event;
    const struct node_options *options;
    const char *target_root; /* targets have to lie below it */
    const struct node_volume_context *volume_context;
    struct node_volumes *volumes;
    struct identities *identities;
    struct node_pods *pods;
    const char *old_kernel; /* see struct publish_spec_context */
    struct node_metrics *metrics;
    struct kept_sockets *sockets;
    /* The registration or the number of volumes may have changed. */
    void (*changed)(void *userdata);
    void *userdata;
};

/* Listen. @context: copied. Return: 0, *ret_csi is the caller's; -errno with @e. */
int csi_service_new(const struct csi_service_context *context, struct csi_service **ret_csi,
                    struct error *e);
/* Stop to listen and to answer. Precedes node_volumes_free(). Return: NULL. */
struct csi_service *csi_service_free(struct csi_service *csi);
DEFINE_CLEANUP(struct csi_service *, csi_service_free)

/*
 * Take over the volumes of pods that an earlier process has recorded and whose targets still show
 * them. Precedes the first call of the kubelet. Return: 0; -errno with @e: they stay as they are,
 * for a later try.
 */
int csi_service_take_over(struct csi_service *csi, struct error *e);

/* Whether the kubelet has registered the driver. */
bool csi_service_is_registered(const struct csi_service *csi);
/* The kubelet's reason for refusing it; "" if it has not. Borrowed until the next answer. */
const char *csi_service_registration_error(const struct csi_service *csi);

/* Remove the volumes of pods whose directories are gone; also done periodically. */
void csi_service_remove_orphans(struct csi_service *csi);
