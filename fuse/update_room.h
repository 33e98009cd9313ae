/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How much the updates that wait, or are under way, add to the journal of the tree (node.h), so
 * that it has room before they begin. Pure.
 *
 * Of a volume one payload waits and one is under way. A thread takes the one that waits at any
 * moment, so when the next one is submitted the one before may be either.
 */
#include "volume/payload.h"

/* Of a volume. Embedded; zeroed to begin. Members are update_room.c's alone. */
struct update_room {
    uint64_t waiting;           /* bytes of the payload that was submitted last */
    uint64_t under_way;         /* bytes of the largest one before it that may not be done */
    const struct payload *last; /* identifies it; not dereferenced */
};

/* An upper bound of the bytes that publishing a payload adds to a journal. */
uint64_t update_room_of(const struct payload *payload);

/* A payload takes the place of the one that waits. */
void update_room_submit(struct update_room *room, const struct payload *payload);

/*
 * An update is done. @may_repeat: its files may be written again at any
 * time, as live files that catch up are
 */
void update_room_done(struct update_room *room, const struct payload *payload, bool may_repeat);

static inline uint64_t update_room_bytes(const struct update_room *room)
{
    return room->waiting + room->under_way;
}
