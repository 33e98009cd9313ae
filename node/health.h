/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The health checks of a node, and the socket at which `secretfs health` requests them:
 * RUN_DIR/health.sock, mode 0600.
 *
 * Thread: the event loop's.
 */
#include "monitor/health.h"
#include "node/csi_service.h"
#include "serve/watchdog.h"

struct node_health;

/* The socket's name in the run directory. */
#define NODE_HEALTH_SOCKET "health.sock"

/* Borrowed; outlives the object. */
struct node_health_context {
    sd_event *event;
    const struct node_options *options;
    struct watchdog *watchdog;
    const struct node_file_systems *file_systems;
    const struct node_volumes *volumes;
    const struct identities *identities;
    const struct csi_service *csi;
    struct kept_sockets *sockets;
};

/*
 * Listen at the socket. If that fails, the log says so, and the node serves volumes without it.
 * @context: copied
 * Return: 0, *ret_health is the caller's; -ENOMEM.
 */
int node_health_new(const struct node_health_context *context, struct node_health **ret_health);
/* Return: NULL. */
struct node_health *node_health_free(struct node_health *health);
DEFINE_CLEANUP(struct node_health *, node_health_free)

/*
 * Run the checks: first those of liveness, then, if @is_readiness, those of readiness.
 * Return: how many there are.
 */
#define NODE_HEALTH_CHECKS_MAX 4
size_t node_health_check(struct node_health *health, bool is_readiness,
                         struct health_check checks[static NODE_HEALTH_CHECKS_MAX]);
