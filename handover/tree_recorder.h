/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Records a tree in a state: each change of the tree is recorded before a reader can see it. See
 * tree_recorder.c.
 */
#include "fuse/node.h"
#include "handover/open_state.h"
#include "handover/state.h"

/*
 * The next state of the tree should be made soon, by tree_recorder_switch(): there is little room
 * left, or none. Called with the tree's lock held. Thread: any.
 */
typedef void tree_recorder_low_fn(void *userdata);

/*
 * More is about to be recorded: make room for it, by tree_recorder_switch(). Called without the
 * lock. Thread: that which has called tree_recorder_switch() first.
 */
typedef void tree_recorder_make_room_fn(void *userdata, uint64_t bytes);

/* Embedded. Members are tree_recorder.c's alone. */
struct tree_recorder {
    struct node_journal journal;
    struct node_table *nodes;
    struct state *state; /* NULL: changes are not recorded */
    uint64_t low_from;   /* bytes: if more is used, there is little room left */
    bool is_low;         /* and that was reported */
    tree_recorder_low_fn *low;
    tree_recorder_make_room_fn *make_room;
    void *userdata;
    const struct object *object; /* recorded last in this commit */
    uint64_t object_at;
    struct open_places opens;
};

void tree_recorder_init(struct tree_recorder *recorder, struct node_table *nodes,
                        tree_recorder_low_fn *low, tree_recorder_make_room_fn *make_room,
                        void *userdata);
/* Changes are no longer recorded. Thread: any. */
void tree_recorder_deinit(struct tree_recorder *recorder);

/* What a state says besides the tree; see handover.c. Called with the tree's lock held. */
typedef void tree_recorder_facts_fn(void *userdata, struct state *state);

/*
 * Record the whole tree in a state, commit it, and record each change there from now on.
 * @state: new, borrowed until the next switch or deinit
 * @facts: appends further records
 * @ret_old: the state until now, which is complete no more: to be discarded; NULL for none
 * Thread: any. Return: 0; -ENOSPC: it does not fit, and nothing has changed.
 */
int tree_recorder_switch(struct tree_recorder *recorder, struct state *state,
                         tree_recorder_facts_fn *facts, void *userdata, struct state **ret_old);

/*
 * Append records of another kind and commit them: @facts does it, while no change of the tree is
 * recorded. Nothing happens without a state. Thread: any.
 */
void tree_recorder_add_facts(struct tree_recorder *recorder, tree_recorder_facts_fn *facts,
                             void *userdata);

/* Whether changes are recorded. Thread: any. */
bool tree_recorder_is_complete(struct tree_recorder *recorder);

/* Bytes that can still be recorded; 0: changes are not recorded. Thread: any. */
uint64_t tree_recorder_free_bytes(struct tree_recorder *recorder);

/* An upper bound of the bytes that the whole tree takes in a state. Thread: any. */
uint64_t tree_recorder_bytes_needed(struct tree_recorder *recorder);
