/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The state: a log of records in memory that outlives the process, for the next one to read. It
 * holds bytes and knows nothing of their meaning; tree_state.h does. See state.c.
 *
 * Thread: any, one at a time.
 */
#include <stdatomic.h>

#include "base/error.h"

/*
 * Formats. A reader accepts STATE_FORMAT and those before it, and none that is newer. A state has
 * the least one of which a reader misses nothing that matters.
 */
#define STATE_FORMAT_FIRST  1u
#define STATE_FORMAT_ORDERS 2u /* notes of volumes have orders (node/volume_record.c) */
#define STATE_FORMAT        STATE_FORMAT_ORDERS

#define STATE_PROGRAM_SIZE 64 /* of the text of a version */
#define STATE_SIZE_MIN     65536u
#define STATE_SIZE_MAX     (UINT64_C(1) << 36) /* the length of the log has 40 bits */

/* At the start of the memory. Members are state.c's alone. */
struct state_header {
    uint64_t magic;
    uint32_t format;
    uint32_t header_len;
    uint64_t number;
    uint64_t size;
    char program[STATE_PROGRAM_SIZE]; /* version that has written it */
    uint64_t sum;                     /* of the above */
    _Atomic uint64_t committed;       /* how much of the log is valid: length and checksum */
};

/* One process's access to a state. Embedded. Members are state.c's alone. */
struct state {
    struct state_header *header;
    uint64_t end;  /* of what was appended */
    bool has_lost; /* a record did not fit */
};

/*
 * Begin a log, in STATE_FORMAT_FIRST. It is invalid until the first commit.
 * @memory, @size: page-aligned, zeroed, shared with the next process; borrowed
 * @number: larger than that of each earlier state of this service
 */
void state_create(struct state *state, void *memory, uint64_t size, uint64_t number,
                  const char *program);

/* Before the first commit: the format that a reader has to know, STATE_FORMAT at most. */
void state_require_format(struct state *state, uint32_t format);

/*
 * Append a record of two parts; the next commit makes it valid.
 * @unchecked: bytes that state_wipe() and state_unchecked() may overwrite; the caller keeps a
 * checksum of them. NULL: zeros
 * Return: the record's offset; 0: it does not fit, and the state has lost this record:
 * no commit follows.
 */
uint64_t state_append(struct state *state, uint16_t type, const void *checked, size_t checked_len,
                      const void *unchecked, size_t unchecked_len);

/*
 * What was appended becomes valid, as a whole and in one instruction.
 * Return: false if a record was lost; then the whole state is invalid from now on.
 */
bool state_commit(struct state *state);

/* Overwrite the unchecked bytes of a record. @offset: as state_append() returned it */
void state_wipe(struct state *state, uint64_t offset);

/*
 * The unchecked bytes of a record, which are aligned if its checked ones are: for what changes too
 * often for a record of its own. A process that finds the state may find any store done or not.
 * Return: borrowed as long as the state's memory.
 */
void *state_unchecked(struct state *state, uint64_t offset);

/* Make a state invalid for every later reader, and overwrite it. */
void state_discard(struct state *state);

/* Bytes that have records, and all of them. */
uint64_t state_used_bytes(const struct state *state);
uint64_t state_size_bytes(const struct state *state);
/* Of two states of a file system the newer one has the greater number. */
uint64_t state_number(const struct state *state);

/* ---- reading */

struct state_record {
    uint64_t offset;
    uint16_t type;
    const void *checked;
    size_t checked_len;
    const void *unchecked;
    size_t unchecked_len;
};

enum state_verdict {
    STATE_EMPTY = 1,     /* its first commit was not reached: the process ended before */
    STATE_DISCARDED = 2, /* another state has replaced it, or a record was lost */
};

/*
 * Check a whole state and open it, to be read, and to be appended to.
 * Return: 0; enum state_verdict; -EBADMSG with @e: damaged, or not a state; -EPROTONOSUPPORT with
 * @e: a newer program has written it.
 */
int state_open(struct state *state, void *memory, uint64_t size, struct error *e);

/*
 * Read the next record. @record: zeroed to begin, else the last one
 * Return: whether there is one.
 */
bool state_next(const struct state *state, struct state_record *record);

/* A checksum for unchecked bytes. Any change of one byte changes it. */
uint64_t state_sum(uint64_t seed, const void *bytes, size_t len);
