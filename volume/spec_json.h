/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A spec as JSON, for the next process of the service: complete, so that neither the request nor
 * the pod it was made of is needed. See spec_json.c.
 */
#include "encoding/json.h"
#include "volume/spec.h"

/* Return: 0, *ret_json is the caller's; -ENOMEM. */
int volume_spec_to_json(const struct volume_spec *spec, cJSON **ret_json);

/*
 * @json: may be NULL, which is invalid
 * Return: 0, *ret_spec is the caller's; -EINVAL with @e: invalid, or of a newer program; -E2BIG
 * with @e: above the limits; -ENOMEM with @e.
 */
int volume_spec_from_json(const cJSON *json, struct volume_spec **ret_spec, struct error *e);
