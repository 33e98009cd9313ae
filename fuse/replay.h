/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The calls that an earlier process's publisher made when it was killed, once more; see replay.c.
 *
 * Thread: the publisher's.
 */
#include "fuse/tree.h"

/*
 * Have the kernel learn what the tree has and what it has no more, in the directory of a volume.
 * @dir_fd: the directory in the writable view (O_PATH)
 * @dir_id: its node id
 * Return: 0; -errno of a call that failed, the others were made nevertheless; -ENOMEM.
 */
int replay_changes(struct tree *tree, int dir_fd, uint64_t dir_id);
