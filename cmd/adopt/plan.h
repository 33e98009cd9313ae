/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a conversion does with each volume of a pod. */
#include "cmd/adopt/spot.h"

enum plan_action {
    PLAN_KEEP,
    PLAN_RENAME, /* give it the suffix, and a csi volume its name */
    PLAN_STRIP,  /* take the suffix away */
    PLAN_REMOVE, /* the csi volume that has the name without the suffix */
};

struct plan_item {
    struct spot volume;
    const struct yaml_place *place; /* also of an alias, or with an anchor; NULL: unknown */
    enum plan_action action;
};

struct plan {
    struct spot volumes;
    struct plan_item *items; /* all volumes, in order */
    size_t n;
    size_t n_changes;
};

/*
 * Plan what the policy does with a pod, or take it back.
 * @pod: with metadata and spec; without volumes the plan is empty
 * Return: 0; -EINVAL with @e for a volume without a valid name; -ENOMEM. plan_deinit() in each
 * case.
 */
int plan_adopt(struct plan *plan, struct spot pod, bool adopts_tokens, struct error *e);
int plan_revert(struct plan *plan, struct spot pod, struct error *e);

void plan_deinit(struct plan *plan);
