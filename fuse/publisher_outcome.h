/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the publisher reports to the event loop. */
#include "base/clock.h"
#include "base/error.h"
#include "fuse/writer.h"

struct publisher_result {
    struct payload *payload; /* that was submitted; borrowed for the call */
    int error;               /* 0, or the -errno of the step that failed */
    bool is_visible;         /* readers see it; possible in spite of an error */
    mono_us received_at;     /* as it was submitted */
    mono_us visible_at;      /* if is_visible */
    char generation[GENERATION_NAME_SIZE];
    uint64_t directory_id; /* node id of the volume's directory, if is_visible */
    uint64_t edition;      /* of the update, if is_visible: see tree_take_edition() */
    uint64_t n_dropped;    /* files of older content that readers lost so far, see held.h */
};

typedef void publisher_done_fn(void *userdata, const struct publisher_result *result);

struct publisher_callbacks {
    publisher_done_fn *done; /* once for each payload that was worked on */
    /* publisher_mounted_parts() or publisher_blocked_since() has changed; may be NULL */
    void (*changed)(void *userdata);
};

/* @error: 0 and @mount_id is that of the new mount; else -errno with @e. */
typedef void publisher_bound_fn(void *userdata, int error, uint64_t mount_id,
                                const struct error *e);

/* Called from the loop, once, if all respond; the mount may be dead all the same. */
typedef void publisher_probed_fn(void *userdata);
