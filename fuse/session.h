/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A session: one FUSE mount with the threads that serve it.
 *
 * As root the file system is mounted in no place at first. session_attach() shows it read-only at
 * the mount point; the writable view, through which the publisher works, stays a mount that no
 * other process can reach. As an ordinary user there is just one mount, made by fusermount3 at
 * once, and only the handlers refuse writes.
 *
 * session_bind() shows a directory of it in one more place.
 *
 * Thread: the event loop's, unless said otherwise.
 */
#include <systemd/sd-event.h>

#include "base/error.h"
#include "fuse/device.h"
#include "fuse/notifier.h"
#include "fuse/request_counts.h"
#include "fuse/tree.h"

struct session;

struct session_options {
    const char *mountpoint;   /* absolute, resolved */
    const char *source;       /* the device that mount(8) and df show */
    bool allow_other;         /* other users may read; always so as root */
    unsigned long mount_attr; /* MOUNT_ATTR_* to add at the mount point (root), such as noexec */
    bool answers_open;        /* the kernel sends each OPEN: see live_file.h */
    const char *user_options; /* the same for fusermount3, comma-separated, or NULL */
    struct session_adoption *adoption; /* NULL: mount */
};

/* A mount that another process has served, and that this one takes over. */
struct session_adoption {
    int device_fd; /* the session's on success, then -1 */
    dev_t device;  /* session_device() of the earlier process */
    const struct device_init *init;
};

/*
 * The mount has ended. It was unmounted, then it may be attached again; or its connection was
 * aborted, then session_is_dead().
 */
typedef void session_ended_fn(void *userdata);

/*
 * Mount, or take a mount over, which is attached already. Requests wait until session_serve().
 * @tree:  borrowed, outlives the session; of an adopted mount the same as that of the earlier
 * process
 * @ended: called from the loop at most once for each session_attach(), never after session_free()
 * Return: 0, *ret_session is the caller's; -ENOTCONN: the mount to take over is gone; -errno with
 * @e.
 */
int session_new(sd_event *event, struct tree *tree, const struct session_options *options,
                session_ended_fn *ended, void *userdata, struct session **ret_session,
                struct error *e);

/*
 * Answer requests. Each answer may promise something that the next process has to keep, so a mount
 * that is taken over is served once its state records what it changes (handover_begin()), and when
 * nothing that follows can fail.
 */
void session_serve(struct session *session);

/*
 * Unmount, if that has not happened yet, and stop serving. Consumers that still use the mount keep
 * it busy; then it is detached, and their next access fails.
 * Return: NULL.
 */
struct session *session_free(struct session *session);
/*
 * Unmount, and leave the rest to the end of the process: a publisher's thread is blocked in it and
 * will continue.
 */
void session_abandon(struct session *session);
DEFINE_CLEANUP(struct session *, session_free)

/*
 * Stop serving and leave the mount as it is, for another process that has the device. What a worker
 * has taken it answers. Return: NULL.
 */
struct session *session_hand_over(struct session *session);

/*
 * Free what the kernel has forgotten of the nodes that an earlier process has made and that have no
 * name any more: which of them the kernel holds is not in the state. Waits for no worker.
 */
void session_release_forgotten(struct session *session);

/*
 * Whether another process can take the mount over: the kernel sends again what this process has
 * taken (Linux 6.9), or ends it and keeps the rest.
 */
bool session_can_outlive_process(const struct session *session);

/*
 * Whether the kernel may have ended a call of an earlier process's publisher although the tree has
 * the change: see replay.h. Thread: any.
 */
bool session_may_have_lost_replies(const struct session *session);

/* Return: the FUSE device, which is what to store, and the kernel's INIT request; both borrowed, as
 * long as the session. */
int session_device_fd(const struct session *session);
const struct device_init *session_init_request(const struct session *session);

/*
 * Show the tree at the mount point, read-only. As an ordinary user it is there already.
 * Return: 0; -ENOTCONN when the session is dead; -errno with @e.
 */
int session_attach(struct session *session, struct error *e);

/*
 * The mount ended, not the session: whether other mounts of the file system exist, such as those of
 * containers. They are served then, with updates, and ended() is called once more when the last one
 * is gone. Without a private view there is nothing to do: the end of the connection is reported.
 */
bool session_serve_others(struct session *session);

/* Try the opens that wait for the end of a switch again. Thread: the loop's. */
void session_resume_opens(struct session *session);

/* Whether its connection has ended, so that no file of it can be read any more. */
bool session_is_dead(const struct session *session);

/*
 * Mount a directory of the attached mount, without the rest, on another directory:
 * read-only, and with @mount_attr (MOUNT_ATTR_*) besides. As root only. The session's workers serve
 * the lookup of @name.
 * @target_fd: a descriptor (O_PATH will do) of the directory to mount on, of any thread
 * Thread: the publisher's.
 * Return: 0, *ret_mount_id is the new mount's as statx(2) knows it; -errno with @e, not
 * mounted.
 */
int session_bind(struct session *session, const char *name, int target_fd, unsigned long mount_attr,
                 uint64_t *ret_mount_id, struct error *e);

/* The mount's device number, as in st_dev. */
dev_t session_device(const struct session *session);

/*
 * The writable view: a descriptor (O_PATH) of the root for *at() calls, until session_end_write().
 * The workers serve each call on it, so a worker must never do
 * this.
 * Thread: the publisher's.
 * Return: 0; -ENOTCONN when the mount is gone or hidden under another one.
 */
int session_begin_write(struct session *session, int *ret_root_fd);
void session_end_write(struct session *session, int root_fd);

/*
 * Have the kernel drop what it has cached, then answer the opens that have waited for the end of a
 * switch. Waits until both are done.
 * @all, @n: in their order; NULL and 0 for none
 * Thread: the publisher's.
 */
void session_notify(struct session *session, const struct notification *all, size_t n);

/*
 * Have a worker answer a request. Thread: the publisher's. Return: 0; -errno.
 */
int session_probe(struct session *session);

/* Accept changes from a thread, or no longer. STAGES_MAX of them at most. Thread: any. */
void session_add_publisher(struct session *session, int tid);
void session_remove_publisher(struct session *session, int tid);

/* Add the requests of a session. NULL is fine. Thread: any. */
void session_count_requests(const struct session *session, struct request_counts *counts);
