/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The mount monitor: a thread that knows which files and directories of our file systems are
 * mounted alone, in our own mount namespace. The kubelet mounts a subPath there first.
 *
 * It reads mountinfo when the kernel says that mounts have changed, in a tenth of the time at most,
 * so that no number of mounts delays anything but this.
 *
 * Thread: any, unless said otherwise.
 */
#include <sys/types.h>

#include "base/clock.h"

struct mount_monitor;
struct mount_subscription;

/* Mounts of parts of a file system: the path of each from the root of the file system, as mountinfo
 * has it. */
struct mounted_parts {
    char **roots;
    size_t n;
    mono_us began_at; /* the look */
};
void mounted_parts_deinit(struct mounted_parts *mounts);

/* Start the thread. Return: 0, *ret_monitor is the caller's; -errno with @e. */
int mount_monitor_new(struct mount_monitor **ret_monitor, struct error *e);
/* All watches must be gone. Return: NULL. */
struct mount_monitor *mount_monitor_free(struct mount_monitor *monitor);

/* Mounts were looked at. Thread: the monitor's; may not wait, nor call the monitor. */
typedef void mount_scanned_fn(void *userdata);

/*
 * @device: of the file system
 * Return: 0, *ret_watch is the caller's; -EMFILE when there are too many; -ENOMEM.
 */
int mount_subscription_new(struct mount_monitor *monitor, dev_t device, mount_scanned_fn *seen,
                           void *userdata, struct mount_subscription **ret_watch);
/* Nothing of it is called any more. Return: NULL. */
struct mount_subscription *mount_subscription_free(struct mount_subscription *watch);

/*
 * What the last look saw, if that was not taken yet.
 * Return: whether there was something new; then *ret_mounts is the caller's.
 */
bool mount_subscription_take(struct mount_subscription *watch, struct mounted_parts *ret_mounts);

/* When the last look began whose result is there; 0 before the first. */
mono_us mount_subscription_scanned_at(const struct mount_subscription *watch);
/* Have mounts looked at once more; if they have not changed since, that takes no time. */
void mount_subscription_request_scan(struct mount_subscription *watch);
/* The same even if no mounts have changed: what they show has been renamed. */
void mount_subscription_rescan(struct mount_subscription *watch);
/* The descriptor that a request is made through, for a thread with a descriptor table of its own.
 * Borrowed. */
int mount_subscription_fd(const struct mount_subscription *watch);
