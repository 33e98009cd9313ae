/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a volume of an adopted tree shows, as the payload that an earlier process has published. */
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
