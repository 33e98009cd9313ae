/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The notifier: a thread that notifies the kernel of cached entries and attributes to drop.
 *
 * The publisher requests it and cannot do it itself, as it does not have the device
 * (publisher_steps.c). For an entry no worker can either: the kernel takes the lock of a directory
 * for it, which a reader may hold that waits for a worker's answer. Pages are not dropped in this
 * way, as the kernel would wait for reads under way: if the process were killed then, its device
 * would stay open and the reads never be answered. The publisher's open of the file drops them
 * (operations.c).
 */
#include <fuse_lowlevel.h>

#include "base/error.h"

struct notifier;

enum notification_kind {
    NOTIFY_ATTRIBUTES, /* drop the attributes of a node */
    NOTIFY_ENTRY,      /* drop a name, and its node if that is not in use; raises no event */
};

struct notification {
    enum notification_kind kind;
    uint64_t id;      /* of the node; of the directory that the name is in */
    const char *name; /* NOTIFY_ENTRY only */
};

/* Called on the notifier's thread after each notifier_run(). */
typedef void notifier_after_fn(void *userdata);

/*
 * Start the thread.
 * @fuse, @userdata: borrowed, outlive the notifier
 * Return: 0, *ret_notifier is the caller's; -errno with @e.
 */
int notifier_new(struct fuse_session *fuse, notifier_after_fn *after, void *userdata,
                 struct notifier **ret_notifier, struct error *e);
/* Nothing may be under way. Return: NULL. */
struct notifier *notifier_free(struct notifier *notifier);

/*
 * Send all of them, in their order, and wait for their effect. Those about nodes that the kernel
 * has not cached have none. A run of another thread ends first.
 * Thread: a publisher's.
 */
void notifier_run(struct notifier *notifier, const struct notification *all, size_t n);
