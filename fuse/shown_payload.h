/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a volume of a tree shows: of an adopted one the payload that was published, and which
 * update. */
#include "fuse/tree.h"
#include "fuse/writer.h"

/*
 * @dir_id: node id of the volume's directory
 * @ret_generation: name of the current generation
 * Return: 0, *ret_payload is the caller's; -ENOENT: nothing was published; -ESTALE: a file has lost
 * its content; -ENOMEM; with @e.
 */
int shown_payload_read(struct tree *tree, uint64_t dir_id, struct payload **ret_payload,
                       char ret_generation[static GENERATION_NAME_SIZE], struct error *e);

/*
 * Which update a volume shows: each one makes a new link ..data, also of files that change in
 * place, and its node's id is in the state as soon as a reader can see it. Later ones are larger,
 * those of the next process as well.
 * Thread: any. Return: 0: nothing is published.
 */
uint64_t shown_update(struct tree *tree, uint64_t dir_id);
