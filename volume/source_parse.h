/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reading the sources of a volume from a document. See source_parse.c.
 *
 * @json is the value of @field. The source is added to @spec with its items.
 * Return: 0; -EINVAL or -E2BIG with the field's path in @e; -ENOMEM.
 *
 * Thread: any; a spec is one thread's at a time.
 */
#include "encoding/field.h"
#include "volume/spec.h"

/* How a Secret or ConfigMap is written in its context. */
struct volume_source_words {
    enum object_kind kind;
    const char *name_member;
    const char *known; /* for field_check_members() */
};

/* A Secret or ConfigMap with its items. */
int volume_source_parse(const cJSON *json, const struct field *field, struct volume_spec *spec,
                        const struct volume_source_words *words, struct error *e);

/* The fields of the pod that the member "items" of @json names. Source: Y1 to Y7. */
int volume_source_parse_downward(const cJSON *json, const struct field *field,
                                 struct volume_spec *spec, struct error *e);

/* One of the sources of a projected volume: a mapping with one member, which names the kind. */
int volume_source_parse_projected(const cJSON *json, const struct field *field,
                                  struct volume_spec *spec, struct error *e);

/* Read a mode of a file. *mode is unchanged if the member is absent. Source: L4. */
int volume_mode_read(const cJSON *json, const struct field *field, const char *name, mode_t *mode,
                     struct error *e);
