/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Making a spec of a CSI volume's volumeAttributes. See attributes.c. */
#include <cjson/cJSON.h>

#include "volume/spec.h"

#define VOLUME_ATTRIBUTES_MAX 64u /* several times the number of known attributes */

struct volume_attribute {
    const char *key;
    const char *value;
};

/* Return: the volume of the pod that `podVolume` names, borrowed; NULL: none. */
const char *volume_attributes_pod_volume(const struct volume_attribute *attributes, size_t n);

/* Whether an attribute says what the volume shows; else it is a secret with a default name. */
bool volume_attributes_name_object(const struct volume_attribute *attributes, size_t n);

/* What attributes alone do not say. Borrowed during the call; members may be NULL. */
struct volume_attributes_context {
    const cJSON *pod_volume;    /* the entry of the pod's volumes that `podVolume` names */
    const char *default_secret; /* shown if no attribute names an object */
};

/*
 * Make a spec of attributes.
 * @context: NULL: no member
 * Return: 0, *ret_spec is the caller's; -EINVAL with the attribute named in @e; -E2BIG; -ENOMEM.
 */
int volume_attributes_parse(const struct volume_attribute *attributes, size_t n,
                            const struct volume_attributes_context *context,
                            struct volume_spec **ret_spec, struct error *e);
