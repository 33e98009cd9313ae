/* SPDX-License-Identifier: Apache-2.0 */
#include "handover/state_size.h"

/* The least room for changes that no update announces. */
#define ROOM_MIN (UINT64_C(1) << 20)

/*
 * A state is replaced when it is half full, so that one with four times of what it needs takes at
 * least as much again before that. Of updates it has room for twice as much: in a storm of them
 * each replacement lasts for as many as all before.
 */
uint64_t state_size_choose(uint64_t needed, uint64_t reserved, uint64_t max)
{
    if (needed > max || max - needed < ROOM_MIN)
        return 0;
    if (needed > max / 8 || reserved > max / 8) /* the sum below is at most 3/4 of @max otherwise */
        return max;
    return needed * 4 + reserved * 2 + ROOM_MIN <= max ? needed * 4 + reserved * 2 + ROOM_MIN : max;
}
