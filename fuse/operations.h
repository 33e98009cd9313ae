/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * FUSE requests, answered from the tree.
 *
 * Reading is for everybody. What changes the tree is for the publisher's thread, which is known by
 * its thread id; anybody else gets EROFS, even root. Each handler sends exactly one reply.
 */
#include <stdatomic.h>

#include <fuse_lowlevel.h>

#include "fuse/snapshots.h"
#include "fuse/tree.h"

/* What the handlers work with; the session's userdata. */
struct operations {
    struct tree *tree;
    atomic_int publisher_tid; /* as the kernel reports it in requests; 0: nobody may write */
    bool changes_in_place;    /* files may change, so each open file has a snapshot */
    struct snapshots snapshots;
};

extern const struct fuse_lowlevel_ops operations_table;
