/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an earlier process has stored: a tree with its open files, and notes. A state is refused as
 * a whole, or there is a tree that can be used, recorded and read again.
 *
 * The first byte tells whether the rest is the memory of a state, or records, of which each has a
 * type, two lengths of two bytes, and bytes. Then checksums and offsets of objects are made right,
 * as otherwise nothing would get further than those; with bit 7 of a type they stay as they are.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "fuse/live_file.h"
#include "fuse/tree.h"
#include "handover/notes.h"
#include "handover/tree_record.h"
#include "handover/tree_recorder.h"
#include "handover/tree_state.h"

#define SIZE        ((size_t)1 << 17)
#define OBJECTS_MAX 16
#define AS_IT_IS    0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct notes_types note_types = {.set = TREE_STATE_TYPE_MAX + 2,
                                              .removed = TREE_STATE_TYPE_MAX + 3};

struct input {
    const uint8_t *at;
    size_t left;
    uint64_t objects[OBJECTS_MAX]; /* offsets */
    size_t n_objects;
};

static unsigned next_number(struct input *in)
{
    unsigned number;

    if (in->left < 2)
        return 0;
    number = in->at[0] | (unsigned)in->at[1] << 8;
    in->at += 2;
    in->left -= 2;
    return number;
}

/* What in a record depends on others. @checked: of its bytes */
static void make_right(const struct input *in, uint16_t type, uint8_t *checked, size_t len,
                       const uint8_t *bytes, size_t bytes_len)
{
    struct stored_content content;
    struct stored_version version;

    if (type == RECORD_CONTENT && len == sizeof(content)) {
        memcpy(&content, checked, len);
        content.object_at = in->n_objects > 0 ? in->objects[content.object_at % in->n_objects] : 0;
        content.sum = state_sum(content.id, bytes, bytes_len);
        memcpy(checked, &content, len);
    } else if (type == RECORD_VERSION && len == sizeof(version)) {
        memcpy(&version, checked, len);
        version.object_at = in->n_objects > 0 ? in->objects[version.object_at % in->n_objects] : 0;
        version.sum = state_sum(version.id, bytes, bytes_len);
        memcpy(checked, &version, len);
    }
}

static void append(struct state *state, struct input *in)
{
    uint8_t type = *in->at++;
    size_t len, bytes_len;
    _cleanup_(freep) uint8_t *checked = NULL;
    const uint8_t *bytes;
    uint64_t at;

    in->left--;
    len = next_number(in);
    bytes_len = next_number(in);
    len = len < in->left ? len : in->left;
    checked = malloc(len + 1);
    assert(checked != NULL);
    memcpy(checked, in->at, len);
    in->at += len;
    in->left -= len;
    bytes_len = bytes_len < in->left ? bytes_len : in->left;
    bytes = in->at;
    if ((type & AS_IT_IS) == 0)
        make_right(in, type, checked, len, bytes, bytes_len);
    type &= (uint8_t)~AS_IT_IS;
    in->at += bytes_len;
    in->left -= bytes_len;
    at = state_append(state, type, checked, len, bytes, bytes_len);
    if (type == RECORD_OBJECT && in->n_objects < OBJECTS_MAX)
        in->objects[in->n_objects++] = at;
}

static void write_records(uint8_t *memory, const uint8_t *data, size_t size)
{
    struct input in = {.at = data, .left = size};
    struct state state;

    state_create(&state, memory, SIZE, 1, "1.2.3");
    while (in.left > 0)
        append(&state, &in);
    (void)state_commit(&state);
}

/* ---- the next process */

static void read_notes(const struct state *state)
{
    struct notes notes;
    struct error e = ERROR_INIT;

    notes_init(&notes);
    if (notes_read(&notes, &note_types, state, &e) < 0)
        assert(e.text[0] != '\0');
    notes_deinit(&notes);
}

static struct tree *read_tree(const struct state *state)
{
    static const struct tree_options options = {.root_mode = 0700, .answers_open = true};
    struct tree *tree = NULL;
    struct error e = ERROR_INIT;
    int r = tree_new(&options, &tree);

    assert(r == 0);
    r = tree_state_read(state, tree_nodes(tree), &e);
    assert((r < 0) == (e.text[0] != '\0'));
    if (r == 0)
        return tree;
    live_file_close_all(tree);
    return tree_free(tree);
}

static void on_low(void *userdata)
{
}

static void request_room(void *userdata, uint64_t bytes)
{
}

static void add_nothing(void *userdata, struct state *state)
{
}

static void record_again(struct tree *tree)
{
    _cleanup_(freep) uint8_t *memory = calloc(1, 4 * SIZE);
    size_t n_nodes = tree_nodes(tree)->n_nodes;
    struct tree_recorder recorder;
    struct state state, *old = NULL;
    struct tree *again;

    assert(memory != NULL);
    tree_recorder_init(&recorder, tree_nodes(tree), on_low, request_room, NULL);
    state_create(&state, memory, 4 * SIZE, 2, "1.2.3");
    if (tree_recorder_switch(&recorder, &state, add_nothing, NULL, &old) == 0) {
        again = read_tree(&state);
        assert(again != NULL && tree_nodes(again)->n_nodes == n_nodes);
        live_file_close_all(again);
        tree_free(again);
    }
    tree_recorder_deinit(&recorder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t aligned[SIZE / sizeof(uint64_t)];
    uint8_t *memory = (uint8_t *)aligned;
    struct state state;
    struct tree *tree;
    struct error e = ERROR_INIT;

    if (size == 0 || size > SIZE / 2)
        return 0;
    memset(memory, 0, SIZE);
    if (data[0] == 0)
        memcpy(memory, data + 1, size - 1);
    else
        write_records(memory, data + 1, size - 1);
    if (state_open(&state, memory, SIZE, &e) != 0)
        return 0;
    read_notes(&state);
    tree = read_tree(&state);
    if (tree == NULL)
        return 0;
    record_again(tree);
    live_file_close_all(tree);
    tree_free(tree);
    return 0;
}
