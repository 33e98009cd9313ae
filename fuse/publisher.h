/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The publisher: the thread that changes the tree, through the mount. While a process blocks it in
 * the directory of a volume, it stays with that volume, and another thread goes on with the others
 * (publisher_pool.h).
 *
 * The event loop submits payloads and does not wait. A payload replaces the one of its volume that
 * still waits: readers need the newest, not each. The outcome is reported to the loop. The threads
 * are neither FUSE workers nor the loop because their system calls are answered by the workers.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fuse/mount_monitor.h"
#include "fuse/publisher_outcome.h"
#include "fuse/session.h"

struct publisher;
struct publisher_volume;

/* Borrowed, outlive the publisher. */
struct publisher_options {
    struct session *session;
    struct tree *tree;
    bool answers_open;             /* files that are mounted alone become live */
    struct mount_monitor *monitor; /* NULL: mounts are not monitored */
};

/* Start the thread. Return: 0, *ret_publisher is the caller's; -errno with @e. */
int publisher_new(sd_event *event, const struct publisher_options *options,
                  struct publisher **ret_publisher, struct error *e);
/*
 * Waits for the publish under way; drops what waits. All volumes must be gone.
 * Return: NULL; @publisher when a thread is blocked in the directory of a volume: then it is not
 * freed, and its session and tree have to stay until the process ends.
 */
struct publisher *publisher_free(struct publisher *publisher);
DEFINE_CLEANUP(struct publisher *, publisher_free)

/*
 * Where a volume is: in the mount's root, or in a directory that is made when it is published first
 * and removed with it.
 */
struct publisher_place {
    struct publisher *publisher;
    const char *name;  /* of the directory, or "." for the root */
    const char *group; /* volumes of one group, such as a pod's, have one blocked thread; or NULL */
    uid_t uid;         /* of a directory that is made */
    gid_t gid;
    mode_t mode;           /* F5, F6; with S_ISGID in it directories have it as well */
    bool changes_in_place; /* all files are live; the session has to answer open */
    struct payload *shown; /* by an earlier process, see shown_payload.h; NULL: a new volume */
};

/*
 * @place: its text is copied
 * @callbacks: borrowed; called from the loop
 * Return: 0, *ret_volume is the caller's; -ENOMEM; -ENOENT: the tree has no volume of that name to
 * go on with.
 */
int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks, void *userdata,
                         struct publisher_volume **ret_volume);
/*
 * No callback of it is called any more. The thread removes its directory before anything that is
 * requested later. NULL is fine. Return: NULL.
 */
struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume);

/*
 * Its directory stays when it is removed: the next process of the service goes on with it. What is
 * submitted and not yet published is dropped.
 */
void publisher_keep_directory(struct publisher_volume *volume);
/*
 * Remove the directory of an earlier process that no volume goes on with. The thread does that
 * before anything that is requested later. Return: 0; -ENOENT; -ENOMEM.
 */
int publisher_remove_leftover(struct publisher *publisher, const char *name);

/*
 * @payload: a reference is taken
 * @received_at: when the change arrived; latency is measured from here
 */
void publisher_submit(struct publisher_volume *volume, struct payload *payload,
                      mono_us received_at);

/*
 * Show a volume that was published, see session_bind(). One at a time for each volume.
 * @target_fd_consumed: O_PATH descriptor of the directory to mount on, or of the root of a
 * mount there, which is replaced
 * @bound: called from the loop, once, unless the volume is removed first
 */
void publisher_bind(struct publisher_volume *volume, int target_fd_consumed,
                    unsigned long mount_attr, publisher_bound_fn *bound, void *userdata);

/* Files and directories of a volume that are mounted alone, as of the last scan. */
struct publisher_mounted_parts {
    size_t n;
    bool follow; /* they follow updates */
};
struct publisher_mounted_parts publisher_mounted_parts(struct publisher_volume *volume);

/*
 * Since when a thread has been blocked in the volume's directory, by a process that holds it; then
 * what was submitted is not shown. Return: 0: it is not.
 */
mono_us publisher_blocked_since(struct publisher_volume *volume);

/* How many threads are blocked in directories of volumes. */
size_t publisher_blocked_threads(struct publisher *publisher);

/* A volume's place in the queue, for debugging; see publish_queue.h. Texts are constants. */
struct publisher_volume_state {
    const char *update;
    const char *old;
    unsigned n_old;    /* old generations, at most */
    bool is_submitted; /* a payload waits */
    bool is_binding;   /* a mount on the target waits */
    bool is_behind;    /* live files wait for their next try */
    bool is_active;    /* a thread works on the volume */
};
struct publisher_volume_state publisher_volume_state(const struct publisher_volume *volume);

/*
 * Cancel the binding, if one is under way or not yet reported: bound() is not called any more. The
 * volume may have been mounted all the same. Waits for a binding under way, some seconds at most.
 */
void publisher_unbind(struct publisher_volume *volume);

/* Check that the thread that leads and the session's workers are alive. One probe at a time. */
void publisher_probe(struct publisher *publisher, publisher_probed_fn *probed, void *userdata);
