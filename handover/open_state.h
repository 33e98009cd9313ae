/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Open files in a state: each has a place, which is written before the kernel is answered, without
 * a record of its own in the log. See open_state.c.
 *
 * Thread: any that holds the tree's lock.
 */
#include "fuse/open_table.h"
#include "handover/state.h"

#define OPEN_STATE_TYPE 6u /* of records; tree_record.h has the others */

/* Blocks of places double in size, so that they are enough for OPEN_TABLE_MAX. */
#define OPEN_PLACES_BLOCKS_MAX 24
#define OPEN_PLACES_MIN        64u

struct stored_open;

/* Places in one state. Embedded; zero is empty. */
struct open_places {
    struct stored_open *blocks[OPEN_PLACES_BLOCKS_MAX];
    uint32_t sizes[OPEN_PLACES_BLOCKS_MAX];
    size_t n_blocks;
    uint32_t n;
};

/*
 * Have @n places at least. Return: whether a record was appended, or lost: a commit is to follow
 * before the next call.
 */
bool open_places_reserve(struct open_places *places, struct state *state, uint32_t n);

/* Write an open file to its place, or take it out; its place exists. */
void open_places_set(const struct open_places *places, const struct open_file *file);
void open_places_clear(const struct open_places *places, const struct open_file *file);

/* An upper bound of the bytes that @n places take in a state. */
uint64_t open_places_bytes(uint32_t n);

/* ---- reading */

/* Whether the record's lengths fit each other. Precedes the functions below. */
bool open_state_is_well_formed(const struct state_record *record);

/*
 * Add the open files of a record to an array.
 * @record: of OPEN_STATE_TYPE, well formed
 * @files: has room for as many as the record has places
 * Return: 0, *n has grown; -EBADMSG: a place is damaged.
 */
int open_state_read(const struct state_record *record, struct open_file *files, size_t *n);
size_t open_state_count(const struct state_record *record);
