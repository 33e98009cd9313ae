/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Fields of a pod as the values of an object of kind OBJECT_DOWNWARD_API. A field is named by a
 * text, which is a key of the object and the key of an item: "metadata.labels['app']", or
 * "limits.cpu CONTAINER DIVISOR". Pure functions. See pod_fields.c.
 */
#include <cjson/cJSON.h>

#include "cache/object.h"

/*
 * Values may be four times as long as the annotations that they quote, which have 256 KiB at most,
 * and several items may show the same field.
 */
#define POD_FIELDS_MAX_BYTES (4u << 20)

/* Whether a fieldPath can be shown. Return: 0; -EINVAL with @e. Source: Y1, Y2. */
int pod_fields_check_path(const char *path, struct error *e);
/*
 * Make the key of a resourceFieldRef.
 * @divisor: a quantity; "" or "0": 1
 * Return: 0, *ret_key is the caller's; -EINVAL with @e; -ENOMEM. Source: Y5.
 */
int pod_fields_resource_key(const char *resource, const char *container, const char *divisor,
                            char **ret_key, struct error *e);

/* Labels or annotations, sorted by key; members are borrowed. */
struct pod_map {
    const cJSON **members;
    size_t n;
};

/* What the values are computed from; borrowed but for the maps. */
struct pod_facts {
    const char *name;
    const char *namespace;
    const char *uid;
    const char *resource_version;       /* "" if unknown */
    const cJSON *details;               /* the Pod, or those of its members that are shown */
    const cJSON *allocatable;           /* status.allocatable of the node; NULL: not known yet */
    struct pod_map labels, annotations; /* of details; pod_facts_init() */
};

/*
 * Sort the maps, once for all objects of a pod: an author of pods can write 20,000 annotations and
 * as many items that look one up. Return: 0 or -ENOMEM. Either way pod_facts_deinit() is due.
 */
int pod_facts_init(struct pod_facts *facts);
void pod_facts_deinit(struct pod_facts *facts);

/* Whether a value of the object depends on the node's allocatable resources (Y6). */
bool pod_fields_need_node(const struct object_key *key, const struct pod_facts *facts);

/*
 * Compute the object of a key.
 * @key: its detail has the pod's uid and each field's text, with a newline between them
 * Return: 0, *ret_object is the caller's reference; -ENOENT for a container that the pod does not
 * have, -EINVAL, -EFBIG, all with @e; -EAGAIN with @e if the node's resources are needed and not
 * known; -ENOMEM.
 * Source: Y2, Y3, Y5, Y6.
 */
int pod_fields_object(const struct object_key *key, const struct pod_facts *facts,
                      struct object **ret_object, struct error *e);
