/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What an API server checks when an object is written, and a directory of manifests does not. */
#include <cjson/cJSON.h>

#include "cache/object.h"

/*
 * Check what a Secret's type requires of its content, and that no key of a ConfigMap comes twice.
 * The keys of kubernetes.io/tls are left out: each volume checks the pair (volume/tls.h).
 * @json: the manifest of @object, for its annotations
 * Return: 0; -EINVAL with @e, which names the type and the key, never a value.
 * Source: Kubernetes' ValidateSecret() and ValidateConfigMap().
 */
int server_check(const cJSON *json, const struct object *object, struct error *e);
