/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Making specs: from an entry of a pod's volumes, or words of a command line. See spec_parse.c. */
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

/*
 * "KEY=PATH", "KEY=PATH:MODE". The text after the last colon is a mode if it begins with a digit.
 * Return: 0, and @source has one more item; -EINVAL with @e; -E2BIG; -ENOMEM.
 */
int volume_item_parse(struct volume_source *source, const char *text, struct error *e);

/* Octal with a leading 0 or 0o, else decimal, as in YAML. Return: 0; -EINVAL with @e. */
int volume_mode_parse(const char *text, mode_t *ret_mode, struct error *e);

/* Return: 0; -EINVAL with @e. */
int volume_id_parse(const char *text, unsigned *ret_id, struct error *e);

/*
 * A Secret's type, in full or in short ("tls" for kubernetes.io/tls).
 * Return: 0, and the spec has it; -EINVAL with @e for an unknown word; -ENOMEM.
 */
int volume_type_parse(struct volume_spec *spec, const char *text, struct error *e);

/* The words of the options below, for completion. NULL-terminated. */
extern const char *const volume_type_words[];
extern const char *const volume_tls_words[];
extern const char *const volume_updates_words[];
extern const char *const volume_revoked_words[];

/* "hold" or "report". Return: 0; -EINVAL with @e. */
int volume_tls_parse(struct volume_spec *spec, const char *text, struct error *e);

/* Words with commas between them: tls, nonempty, json, yaml, pem, command:NAME.
 * Return: 0; -EINVAL with @e; -ENOMEM. */
int volume_check_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "in-place" or "generations". Return: 0; -EINVAL with @e. */
int volume_updates_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "keep" or "remove". Return: 0; -EINVAL with @e. */
int volume_revoked_parse(struct volume_spec *spec, const char *text, struct error *e);
