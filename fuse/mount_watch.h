/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Watching the mounts of our own mount namespace, for the session, which waits for the end of its
 * mount, and for the mount monitor, which scans them for parts of volumes.
 */
#include <poll.h>

#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/mountinfo.h"

/* A descriptor of mountinfo polls as these once after any number of changes. */
#define MOUNT_WATCH_EVENTS (POLLPRI | POLLERR)

/* Return: a descriptor of mountinfo, the caller's; -errno. Thread: any. */
int mount_watch_open(void);

/*
 * Call a handler from the loop whenever mounts have changed.
 * Return: 0, *ret_source is the caller's; -errno with @e.
 */
int mount_watch_add(sd_event *event, sd_event_io_handler_t on_changed, void *userdata,
                    sd_event_source **ret_source, struct error *e);

/* Visit all mounts, and return, as mountinfo_visit() does. Thread: any. */
int mount_watch_visit(mountinfo_visit_fn *visit, void *userdata);

/*
 * Whether there is a mount of that id and file system, as the kernel uses the id of a mount that
 * ended for the next one; true if that cannot be found out. Thread: any.
 */
bool mount_watch_exists(uint64_t mount_id, dev_t device);
