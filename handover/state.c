/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     struct state_header | record | record | ... | unused
 *
 *     record: struct head | checked bytes | unchecked bytes | up to a multiple of 8
 *
 * A process may end at any instruction, so nothing that is valid is ever overwritten but
 *
 *  - the word header.committed, with one store: it says how much of the log is valid. A record that
 *    was appended and not committed does not exist for the next process, which appends over it;
 *  - unchecked bytes of a record that a later, committed one has made obsolete;
 *  - unchecked bytes that are made for it: each store leaves the record valid (tree_recorder.c).
 *
 * The word holds the length and a checksum of it. A record's checksum covers its head, the checked
 * bytes, its place in the log and the state's number, so that a damaged byte, or a record of
 * another state, is found. A state with such a byte is refused as a whole: what it says about the
 * others is not trusted either. The checksum is for damage and not for attackers: a process that
 * can write to the memory can read the secrets that it holds.
 *
 * A state that is full is replaced by a new one with a larger number (handover.c); the old one is
 * discarded once the new one is valid.
 */
#include "handover/state.h"

#include <stdio.h>

#include "base/util.h"

#define MAGIC     UINT64_C(0x3165746174736673) /* "sfstate1" */
#define ALIGNMENT 8u
#define LEN_BITS  40u
#define LEN_MASK  ((UINT64_C(1) << LEN_BITS) - 1)
#define LEN_LOST  LEN_MASK /* no length: the state is discarded */

struct head {
    uint32_t len; /* of the record, with this head and without what fills it up */
    uint32_t checked_len;
    uint16_t type;
    uint16_t reserved[3];
    uint64_t sum;
};

_Static_assert(sizeof(struct head) == 24, "no padding: a checksum covers it");
_Static_assert(sizeof(struct state_header) % ALIGNMENT == 0, "records are aligned");

/* ---- checksums */

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15); /* odd: no two words lead to one sum */
    return sum ^ sum >> 32;
}

uint64_t state_sum(uint64_t seed, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t sum = mix(seed, len), word;

    for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        sum = mix(sum, word);
    }
    word = 0;
    if (len > 0)
        memcpy(&word, at, len);
    return mix(sum, word);
}

static uint64_t header_sum(const struct state_header *h)
{
    return state_sum(MAGIC, h, offsetof(struct state_header, sum));
}

/* @offset: of the record */
static uint64_t record_sum(const struct state_header *h, uint64_t offset, const struct head *head,
                           const void *checked)
{
    struct head summed = *head;

    summed.sum = 0;
    return state_sum(state_sum(mix(h->number, offset), &summed, sizeof(summed)), checked,
                     head->checked_len);
}

static uint64_t committed_word(const struct state_header *h, uint64_t len)
{
    return len | mix(h->number, len) >> LEN_BITS << LEN_BITS;
}

/* ---- the memory */

static uint8_t *at(const struct state *s, uint64_t offset)
{
    return (uint8_t *)s->header + offset;
}

static uint64_t aligned(uint64_t len)
{
    return (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void state_create(struct state *state, void *memory, uint64_t size, uint64_t number,
                  const char *program)
{
    struct state_header *h = memory;

    assert(size >= STATE_SIZE_MIN && size <= STATE_SIZE_MAX);
    *state = (struct state){.header = h, .end = sizeof(*h)};
    h->magic = MAGIC;
    h->format = STATE_FORMAT_FIRST;
    h->header_len = sizeof(*h);
    h->number = number;
    h->size = size;
    snprintf(h->program, sizeof(h->program), "%s", program);
    h->sum = header_sum(h);
}

void state_require_format(struct state *state, uint32_t format)
{
    assert(format >= STATE_FORMAT_FIRST && format <= STATE_FORMAT);
    state->header->format = format;
    state->header->sum = header_sum(state->header);
}

uint64_t state_append(struct state *state, uint16_t type, const void *checked, size_t checked_len,
                      const void *unchecked, size_t unchecked_len)
{
    uint64_t offset = state->end, len = sizeof(struct head) + checked_len + unchecked_len;
    struct head head = {.len = (uint32_t)len, .checked_len = (uint32_t)checked_len, .type = type};
    uint8_t *record = at(state, offset);

    assert(checked_len <= UINT32_MAX / 4 && unchecked_len <= UINT32_MAX / 4);
    if (aligned(len) > state->header->size - offset) {
        state->has_lost = true;
        return 0;
    }
    head.sum = record_sum(state->header, offset, &head, checked);
    memcpy(record, &head, sizeof(head));
    if (checked_len > 0)
        memcpy(record + sizeof(head), checked, checked_len);
    if (unchecked == NULL)
        memset(record + sizeof(head) + checked_len, 0, unchecked_len);
    else if (unchecked_len > 0)
        memcpy(record + sizeof(head) + checked_len, unchecked, unchecked_len);
    state->end = offset + aligned(len);
    return offset;
}

bool state_commit(struct state *state)
{
    struct state_header *h = state->header;

    if (state->has_lost) {
        state_discard(state);
        return false;
    }
    atomic_store_explicit(&h->committed, committed_word(h, state->end), memory_order_release);
    return true;
}

void *state_unchecked(struct state *state, uint64_t offset)
{
    const struct head *head = (const void *)at(state, offset);

    assert(offset >= sizeof(*state->header) && offset < state->end);
    return at(state, offset) + sizeof(*head) + head->checked_len;
}

void state_wipe(struct state *state, uint64_t offset)
{
    const struct head *head = (const void *)at(state, offset);

    explicit_bzero(state_unchecked(state, offset), head->len - sizeof(*head) - head->checked_len);
}

void state_discard(struct state *state)
{
    struct state_header *h = state->header;

    atomic_store_explicit(&h->committed, committed_word(h, LEN_LOST), memory_order_release);
    explicit_bzero(at(state, sizeof(*h)), state->end - sizeof(*h));
    state->has_lost = true;
}

uint64_t state_used_bytes(const struct state *state)
{
    return state->end;
}

uint64_t state_size_bytes(const struct state *state)
{
    return state->header->size;
}

uint64_t state_number(const struct state *state)
{
    return state->header->number;
}

/* ---- reading */

static int damaged(struct error *e, const char *what)
{
    return error_set(e, -EBADMSG, "the stored state is damaged: %s", what);
}

static int check_header(const struct state_header *h, uint64_t size, struct error *e)
{
    char program[STATE_PROGRAM_SIZE];

    if (size < sizeof(*h) || h->magic != MAGIC)
        return error_set(e, -EBADMSG, "the stored descriptor has no state of secretfs");
    memcpy(program, h->program, sizeof(program));
    program[sizeof(program) - 1] = '\0';
    /* before the checksum: another format may compute it in another way */
    if (h->format > STATE_FORMAT)
        return error_set(e, -EPROTONOSUPPORT,
                         "secretfs %s has written the stored state, in format %u; this version "
                         "reads formats up to %u: start the newer version again",
                         program, h->format, STATE_FORMAT);
    if (h->format == 0 || h->header_len != sizeof(*h) || h->size != size || h->sum != header_sum(h))
        return damaged(e, "invalid header");
    return 0;
}

/* Whether a record stands at @offset as a whole. */
static bool is_intact(const struct state *s, uint64_t offset, uint64_t end)
{
    const struct head *head = (const void *)at(s, offset);

    return end - offset >= sizeof(*head) && aligned(head->len) <= end - offset &&
           head->len >= sizeof(*head) && head->checked_len <= head->len - sizeof(*head) &&
           head->sum == record_sum(s->header, offset, head, head + 1);
}

static int check_records(const struct state *s, struct error *e)
{
    uint64_t offset = sizeof(*s->header);

    while (offset < s->end) {
        if (!is_intact(s, offset, s->end))
            return damaged(e, "invalid record");
        offset += aligned(((const struct head *)(const void *)at(s, offset))->len);
    }
    return 0;
}

int state_open(struct state *state, void *memory, uint64_t size, struct error *e)
{
    struct state_header *h = memory;
    uint64_t word, len;
    int r = check_header(h, size, e);

    if (r < 0)
        return r;
    word = atomic_load_explicit(&h->committed, memory_order_acquire);
    len = word & LEN_MASK;
    if (word == 0)
        return STATE_EMPTY;
    if (word != committed_word(h, len))
        return damaged(e, "invalid length");
    if (len == LEN_LOST)
        return STATE_DISCARDED;
    if (len > size || len <= sizeof(*h) || len % ALIGNMENT != 0)
        return damaged(e, "invalid length");
    *state = (struct state){.header = h, .end = len};
    return check_records(state, e);
}

bool state_next(const struct state *state, struct state_record *record)
{
    uint64_t offset = sizeof(*state->header);
    const struct head *head;

    if (record->offset != 0) {
        head = (const void *)at(state, record->offset);
        offset = record->offset + aligned(head->len);
    }
    if (offset >= state->end)
        return false;
    head = (const void *)at(state, offset);
    *record = (struct state_record){
        .offset = offset,
        .type = head->type,
        .checked = head + 1,
        .checked_len = head->checked_len,
        .unchecked = (const uint8_t *)(head + 1) + head->checked_len,
        .unchecked_len = head->len - sizeof(*head) - head->checked_len,
    };
    return true;
}
