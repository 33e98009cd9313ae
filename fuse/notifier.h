/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The notifier: a thread that tells the kernel what to forget of what it has cached.
 *
 * The publisher asks for it and cannot do it itself, as it does not have the device (publisher.c).
 * For an entry no worker can either: the kernel takes the lock of a directory for it, which a
 * reader may hold that waits for a worker's answer. Pages are not among what it tells of, as the
 * kernel would wait for readers under way: were the process killed then, its device would stay open
 * and their answer never come. The publisher has them dropped by opening the file (operations.c).
 */
#include <fuse_lowlevel.h>

#include "base/error.h"

struct notifier;

enum notification_kind {
    NOTIFY_ATTRIBUTES, /* forget the attributes of a node */
    NOTIFY_ENTRY,      /* forget a name, and its node when it is not in use; no watcher sees it */
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
 * Send all of them, in their order, and wait until they have had their effect; those that the
 * kernel knows nothing of have none.
 * Thread: the publisher's.
 */
void notifier_run(struct notifier *notifier, const struct notification *all, size_t n);
