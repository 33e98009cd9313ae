/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The allocatable resources of the node, which a pod without limits has. See allocatable.c.
 *
 * Thread: the event loop's.
 */
#include <cjson/cJSON.h>

#include "node/api.h"

struct allocatable;

struct allocatable_options {
    const char *node_name; /* borrowed, outlives the object */
    struct node_api *api;
    /* The resources, or the reason why they are not known, have changed. */
    void (*changed)(void *userdata);
    void *userdata;
};

/* Requests nothing yet. Return: 0, *ret_allocatable is the caller's; -ENOMEM. */
int allocatable_new(sd_event *event, const struct allocatable_options *options,
                    struct allocatable **ret_allocatable);
/* NULL is fine. Return: NULL. */
struct allocatable *allocatable_free(struct allocatable *allocatable);
DEFINE_CLEANUP(struct allocatable *, allocatable_free)

/*
 * The node's status.allocatable as it was last read; requests it if it is not known or not recent,
 * and changed() follows if that changes it.
 * Return: borrowed until changed(); NULL: not known yet.
 */
const cJSON *allocatable_get(struct allocatable *allocatable);
/* Why it is not known; "" if there is no answer yet. Borrowed. */
const char *allocatable_problem(const struct allocatable *allocatable);
