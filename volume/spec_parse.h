/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Making specs from an entry of a pod's volumes. See spec_parse.c.
 *
 * Thread: any.
 */
#include <cjson/cJSON.h>

#include "volume/spec.h"

/* A pod with its volumes has to fit into a request to etcd. */
#define VOLUME_FILE_MAX_BYTES 1572864

/*
 * Parse one entry of a PodSpec's `volumes:`, in YAML or JSON, as a mapping or as a list of one.
 * secretfs' own options are in the mapping "secretfs" beside the volume's own, and in an item as
 * "uid" and "gid".
 * Return: 0, *ret_spec is the caller's; -EINVAL with the field's path in @e; -E2BIG; -ENOMEM.
 * Source: L4, L5, N1, N3; secret, configMap and projected of core/v1.
 */
int volume_spec_parse(const char *text, size_t len, struct volume_spec **ret_spec, struct error *e);

/*
 * The same for an entry that is part of a document.
 * @root_name: its path in the document, such as "volume"; "" if it is the document
 */
int volume_spec_parse_entry(const cJSON *entry, const char *root_name,
                            struct volume_spec **ret_spec, struct error *e);

/*
 * The same from a flat mapping: `secretName`, `configMap` (the name of one), `sources` (those of a
 * projected volume), `volume` or `podVolume` (an entry as above), with the fields of such a volume
 * and secretfs' own options beside them. An entry of `podVolume` is the API server's. The spec may
 * have sources that are made of the volume's pod: see volume_spec_bind_pod().
 * @root_name: the mapping's name in errors
 * Return: as volume_spec_parse().
 */
int volume_spec_parse_flat(const cJSON *words, const char *root_name, struct volume_spec **ret_spec,
                           struct error *e);
