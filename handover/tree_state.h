/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* From a state to the tree that tree_recorder.c has recorded there, with the same node ids. */
#include "fuse/node.h"
#include "handover/state.h"

/* Types of records up to this one are those of tree_record.h. */
#define TREE_STATE_TYPE_MAX 15u

/*
 * Make the tree of a state.
 * @nodes: of a new tree, without a journal
 * Return: 0; -EBADMSG with @e: contradictory or damaged; -ENOMEM. After a failure only
 * node_table_deinit() may follow.
 */
int tree_state_read(const struct state *state, struct node_table *nodes, struct error *e);
