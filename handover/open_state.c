/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs may open and close live files without end, so a record in the log for each of them would
 * fill it. Instead the places are the unchecked bytes of a few records, and they change by stores:
 *
 *   open    all of a free place, its handle last: until then the place is free
 *   flags   one word
 *   close   the handle becomes 0
 *
 * So the state is valid between any two instructions. Each place has a checksum of what does not
 * change while the file is open.
 */
#include "handover/open_state.h"

#include <stdatomic.h>

#include "base/util.h"

struct stored_open {
    _Atomic uint64_t handle; /* 0: free */
    uint64_t node;
    uint64_t version;
    uint64_t unique;
    uint32_t thread;
    _Atomic uint32_t flags;
    uint64_t sum; /* of all but the flags */
};

struct stored_block {
    uint32_t first; /* place */
    uint32_t n;
};

_Static_assert(sizeof(struct stored_open) == 48 && sizeof(struct stored_block) == 8, "aligned");

static uint64_t sum_of(const struct open_file *file)
{
    const uint64_t words[] = {file->node, file->version, file->unique, (uint32_t)file->thread};

    return state_sum(file->handle, words, sizeof(words));
}

bool open_places_reserve(struct open_places *places, struct state *state, uint32_t n)
{
    struct stored_block block = {.first = places->n, .n = places->n};
    uint64_t at;

    if (n <= places->n)
        return false;
    assert(places->n_blocks < OPEN_PLACES_BLOCKS_MAX);
    if (block.n < OPEN_PLACES_MIN)
        block.n = OPEN_PLACES_MIN;
    if (block.n < n - places->n)
        block.n = n - places->n;
    at = state_append(state, OPEN_STATE_TYPE, &block, sizeof(block), NULL,
                      block.n * sizeof(struct stored_open));
    if (at == 0)
        return true;
    places->blocks[places->n_blocks] = state_unchecked(state, at);
    places->sizes[places->n_blocks++] = block.n;
    places->n += block.n;
    return true;
}

static struct stored_open *place_of(const struct open_places *places, const struct open_file *file)
{
    uint32_t index = open_table_index(file->handle);
    size_t i = 0;

    assert(index < places->n);
    for (; index >= places->sizes[i]; i++)
        index -= places->sizes[i];
    return &places->blocks[i][index];
}

void open_places_set(const struct open_places *places, const struct open_file *file)
{
    struct stored_open *place = place_of(places, file);

    atomic_store_explicit(&place->flags, file->flags, memory_order_release);
    if (atomic_load_explicit(&place->handle, memory_order_relaxed) == file->handle)
        return;
    place->node = file->node;
    place->version = file->version;
    place->unique = file->unique;
    place->thread = (uint32_t)file->thread;
    place->sum = sum_of(file);
    atomic_store_explicit(&place->handle, file->handle, memory_order_release);
}

void open_places_clear(const struct open_places *places, const struct open_file *file)
{
    atomic_store_explicit(&place_of(places, file)->handle, 0, memory_order_release);
}

uint64_t open_places_bytes(uint32_t n)
{
    return n > 0 ? 64 + (uint64_t)(n + OPEN_PLACES_MIN) * sizeof(struct stored_open) : 0;
}

/* ---- reading */

bool open_state_is_well_formed(const struct state_record *record)
{
    const struct stored_block *block = record->checked;

    return record->checked_len == sizeof(*block) &&
           record->unchecked_len == (uint64_t)block->n * sizeof(struct stored_open);
}

size_t open_state_count(const struct state_record *record)
{
    return ((const struct stored_block *)record->checked)->n;
}

int open_state_read(const struct state_record *record, struct open_file *files, size_t *n)
{
    const struct stored_block *block = record->checked;
    const struct stored_open *places = record->unchecked;

    for (uint32_t i = 0; i < block->n; i++) {
        const struct stored_open *place = &places[i];
        struct open_file file = {.handle =
                                     atomic_load_explicit(&place->handle, memory_order_acquire)};

        if (file.handle == 0)
            continue;
        file.node = place->node;
        file.version = place->version;
        file.unique = place->unique;
        file.thread = (pid_t)place->thread;
        file.flags = atomic_load_explicit(&place->flags, memory_order_acquire);
        if (place->sum != sum_of(&file) || (file.flags & ~OPEN_FILE_FLAGS) != 0 ||
            open_table_index(file.handle) != block->first + i)
            return -EBADMSG;
        files[(*n)++] = file;
    }
    return 0;
}
