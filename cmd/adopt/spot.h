/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A value of a document beside its place in the text. The place is unknown (NULL) where the value
 * comes from an alias or a merge, or where an anchor is: an edit there would change other values.
 */
#include <cjson/cJSON.h>

#include "encoding/yaml_place.h"

struct spot {
    cJSON *json; /* borrowed from the document; NULL: absent */
    const struct yaml_place *place;
    size_t line; /* of the nearest place that is known */
};

/* @place: of the document's root; NULL: unknown */
struct spot spot_root(cJSON *json, const struct yaml_place *place);
/* Return: the value of @key; its json is NULL if the mapping has none, or is absent itself. */
struct spot spot_member(struct spot mapping, const char *key);

/* The entries of a sequence, in turn: at.json is NULL behind the last one. */
struct spot_entry {
    struct spot at;
    const struct yaml_place *place; /* also that of an alias */
};

struct spot_entry spot_first(struct spot sequence);
void spot_next(struct spot_entry *entry);
