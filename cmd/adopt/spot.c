/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/spot.h"

static struct spot spot_make(cJSON *json, const struct yaml_place *place, size_t line)
{
    bool is_own = place != NULL && place->kind != PLACE_ALIAS && !place->has_anchor;

    return (struct spot){
        .json = json, .place = is_own ? place : NULL, .line = place != NULL ? place->line : line};
}

struct spot spot_root(cJSON *json, const struct yaml_place *place)
{
    return spot_make(json, place, 0);
}

struct spot spot_member(struct spot mapping, const char *key)
{
    return spot_make(cJSON_GetObjectItemCaseSensitive(mapping.json, key),
                     yaml_place_member(mapping.place, key), mapping.line);
}

static struct spot_entry entry_make(cJSON *json, const struct yaml_place *place, size_t line)
{
    return (struct spot_entry){.at = spot_make(json, place, line), .place = place};
}

struct spot_entry spot_first(struct spot sequence)
{
    const struct yaml_place *place = sequence.place;
    bool has_places = place != NULL && place->kind == PLACE_SEQUENCE;

    return entry_make(cJSON_IsArray(sequence.json) ? sequence.json->child : NULL,
                      has_places ? place->child : NULL, sequence.line);
}

void spot_next(struct spot_entry *entry)
{
    *entry = entry_make(entry->at.json->next, entry->place != NULL ? entry->place->next : NULL,
                        entry->at.line);
}
