/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A spec: what the user asked for. Here: all keys of one object. */
#include "volume/payload.h"

#define VOLUME_DEFAULT_MODE 0644 /* what the API server fills in (B4) */

struct volume_spec {
    struct object_key object; /* strings borrowed from whoever made the spec */
    mode_t default_mode;
};

/*
 * Project an object by a spec: every key becomes a file named by it (B1). Where a ConfigMap has a
 * key in both maps, binaryData wins (M3).
 * Return: 0, *ret_payload is the caller's; -EINVAL with @e; -ENOMEM.
 */
int volume_spec_project(const struct volume_spec *spec, struct object *object,
                        struct payload **ret_payload, struct error *e);
