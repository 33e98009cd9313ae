/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A file system of a node: its mount in the run directory, the tree that it serves and the
 * publisher that writes it. Volumes are directories in it.
 *
 * Thread: the event loop's.
 */
#include "fuse/publisher.h"
#include "serve/mount_handover.h"

struct file_system_options {
    const char *mountpoint;        /* absolute; copied */
    const char *source;            /* what mountinfo shows as the source of its mounts; borrowed */
    bool answers_open;             /* files may be live; see fuse/live_file.h */
    struct mount_monitor *monitor; /* borrowed */
    struct fd_store *fd_store;     /* borrowed; NULL: the file system ends with the process */
    const char *handover_name;     /* among the stored descriptors; borrowed */
};

/* The FUSE connection is gone, so the file system cannot be mounted again. Must not free it. */
typedef void file_system_failed_fn(void *userdata, const struct error *e);

/* Members are read-only for callers. */
struct file_system {
    sd_event *event;
    struct file_system_options options;
    char *mountpoint;
    struct handover *handover; /* NULL: it ends with the process */
    bool is_adopted;           /* an earlier process has made it */
    struct tree *tree;
    struct session *session;
    struct publisher *publisher;
    file_system_failed_fn *failed;
    void *userdata;
};

/*
 * Create it, and take over what an earlier process has left of it.
 * Return: 0, it is served; FILE_SYSTEM_NEW: file_system_mount() is to follow; in both cases *ret_fs
 * is the caller's. -errno with @e.
 */
#define FILE_SYSTEM_NEW 1
int file_system_new(sd_event *event, const struct file_system_options *options,
                    file_system_failed_fn *failed, void *userdata, struct file_system **ret_fs,
                    struct error *e);
/* Mount and serve one that is new. Return: 0; -errno with @e: only file_system_free() may follow.
 */
int file_system_mount(struct file_system *fs, struct error *e);

/*
 * Whether the next process of the service takes it over when this one ends.
 * @fs: NULL is fine
 * @is_requested: see mount_handover_is_due()
 */
bool file_system_is_handed_over(const struct file_system *fs, bool is_requested);

/*
 * Unmount it, or leave it to the next process.
 * All volumes must have been removed. At the end of the process: see publisher_free(). Return:
 * NULL; @fs if it is in use until the process ends.
 */
struct file_system *file_system_free(struct file_system *fs);
struct file_system *file_system_hand_over(struct file_system *fs);
DEFINE_CLEANUP(struct file_system *, file_system_free)
