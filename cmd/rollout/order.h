/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs rollout pause`, `resume` and `undo`: an order for the node daemon of this host. */
#include "base/error.h"

/* Strings are borrowed. */
struct rollout_order {
    const char *order;     /* "pause" */
    const char *object;    /* "secret/NAME", "configmap/NAME" */
    const char *namespace; /* NULL: the only one that has it on this node */
    const char *run_dir;   /* of the daemon */
};

/* Check the form of an object. Return: 0; -EINVAL with @e. */
int rollout_object_check(const char *object, struct error *e);

/*
 * Have the order carried out, and print a line for each volume.
 * Return: 0; 1 if it failed for a volume, which standard error names; -EREMOTEIO: the daemon
 * refuses it; -errno; with @e.
 */
int rollout_order(const struct rollout_order *order, struct error *e);
