/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The mount monitor: a thread that knows which files and directories of our file systems are
 * mounted alone, in our own mount namespace. The kubelet mounts a subPath there first. See
 * mount_monitor.c.
 *
 * Thread: any, unless said otherwise.
 */
#include <sys/types.h>

#include "base/clock.h"

struct mount_monitor;
struct mount_subscription;

/* What a scan found of one file system: mounts of parts of it. */
struct mounted_parts {
    char **roots; /* the path of each from the root of the file system, as mountinfo has it */
    size_t n;
    mono_us began_at; /* the scan */
};
void mounted_parts_deinit(struct mounted_parts *parts);

/* Start the thread. Return: 0, *ret_monitor is the caller's; -errno with @e. */
int mount_monitor_new(struct mount_monitor **ret_monitor, struct error *e);
/* All subscriptions must be gone. Return: NULL. */
struct mount_monitor *mount_monitor_free(struct mount_monitor *monitor);

/* Mounts were scanned. Thread: the monitor's; may not wait, nor call the monitor. */
typedef void mount_scanned_fn(void *userdata);

/*
 * Subscribe to the parts of one file system; a scan follows.
 * @device: of the file system
 * Return: 0, *ret_subscription is the caller's; -EMFILE when there are too many; -ENOMEM.
 */
int mount_subscription_new(struct mount_monitor *monitor, dev_t device, mount_scanned_fn *scanned,
                           void *userdata, struct mount_subscription **ret_subscription);
/* @scanned is not called any more. Return: NULL. */
struct mount_subscription *mount_subscription_free(struct mount_subscription *subscription);

/*
 * The result of the last scan, if it was not taken yet.
 * Return: whether there was one; then *ret_parts is the caller's.
 */
bool mount_subscription_take(struct mount_subscription *subscription,
                             struct mounted_parts *ret_parts);

/*
 * When the last scan began, or the last request that found no change: the result is not older. 0
 * before the first scan.
 */
mono_us mount_subscription_scanned_at(const struct mount_subscription *subscription);
/* Have mounts scanned, if they have changed since the last scan. */
void mount_subscription_request_scan(struct mount_subscription *subscription);
/* Have them scanned in any case: what they show has been renamed. */
void mount_subscription_rescan(struct mount_subscription *subscription);
/*
 * Return: the descriptor that a request is made through, for a thread with a descriptor table of
 * its own. Borrowed.
 */
int mount_subscription_fd(const struct mount_subscription *subscription);
