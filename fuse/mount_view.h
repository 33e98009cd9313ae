/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The mount of one file system: where consumers see it, and the writable view, which only the
 * publisher can reach. See mount_view.c.
 *
 * Thread: the event loop's, unless said otherwise.
 */
#include <pthread.h>
#include <sys/types.h>

#include "base/error.h"

/* Embedded. Members are mount_view.c's alone. */
struct mount_view {
    char *mountpoint;
    dev_t device;      /* of the file system */
    bool is_attached;  /* at the mount point */
    uint64_t mount_id; /* of the mount there, once it was attached */

    pthread_mutex_t lock; /* fd; not held while a publisher writes, which may block */
    int fd;               /* the writable view; -1 as an ordinary user */
};

struct mount_view_options {
    const char *source;       /* what mount(8) and df show as the device */
    unsigned long mount_attr; /* MOUNT_ATTR_* at the mount point */
};

/* @mountpoint: absolute, resolved; copied. Return: 0 or -ENOMEM; deinit may follow both. */
int mount_view_init(struct mount_view *view, const char *mountpoint);
void mount_view_deinit(struct mount_view *view);

/*
 * As root: mount the file system that is served through @device_fd, attached nowhere yet.
 * Return: 0; -errno with @e; 1 when this process may not mount, so that fusermount3 has to.
 */
#define MOUNT_VIEW_NOT_PERMITTED 1
int mount_view_mount(struct mount_view *view, const struct mount_view_options *options,
                     int device_fd, struct error *e);

/*
 * Find out which file system was mounted. To be called once it is served: as root after
 * mount_view_mount(), as an ordinary user after fusermount3 has attached it.
 * Return: 0; -errno with @e.
 */
int mount_view_identify(struct mount_view *view, struct error *e);

/*
 * Take over the mount at the mount point, which another process has attached, instead of
 * mount_view_mount() and mount_view_attach().
 * @device: of its file system
 * Return: 0; -ENOTCONN with @e: another mount is there, or none; -errno with @e.
 */
int mount_view_adopt(struct mount_view *view, dev_t device, struct error *e);

/* Whether it is attached by mount_view_attach(), and may be again after it was unmounted. */
bool mount_view_is_private(const struct mount_view *view);

/* Show it at the mount point, read-only. Return: 0; -errno with @e. */
int mount_view_attach(struct mount_view *view, struct error *e);

/* Whether the attached mount is there still; if not, it counts as detached from now on. */
bool mount_view_check(struct mount_view *view);

/*
 * Whether another mount of the file system exists, in any mount namespace: the view is closed, and
 * mounted once more unless the kernel has ended the file system by that. Only while it is not
 * attached.
 * @device_fd: the one that it is served through
 * Return: 0: yes; -ENOTCONN: no; -errno with @e: unknown, and there is no view any more.
 */
int mount_view_renew(struct mount_view *view, int device_fd, struct error *e);

/* Unmount it from the mount point, if it is there. Return: 0; -errno. */
int mount_view_detach(struct mount_view *view);

/* As session_bind(). Thread: the publisher's. */
int mount_view_bind(struct mount_view *view, const char *name, int target_fd,
                    unsigned long mount_attr, uint64_t *ret_mount_id, struct error *e);

/* As session_begin_write() and session_end_write(). Thread: the publisher's. */
int mount_view_begin_write(struct mount_view *view, int *ret_root_fd);
void mount_view_end_write(int root_fd);
