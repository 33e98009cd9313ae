/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A session: one FUSE mount with the threads that serve it.
 *
 * As root the file system is mounted in no place at first. session_attach() shows it read-only at
 * the mount point; the writable view, through which the publisher works, stays a mount that nobody
 * else can reach. As an ordinary user there is just one mount, made by fusermount3 at once, and
 * nothing but the handlers' refusal keeps others from writing.
 *
 * session_bind() shows a directory of it in one more place.
 *
 * Thread: the event loop's, unless said otherwise.
 */
#include <systemd/sd-event.h>

#include "base/error.h"
#include "fuse/notifier.h"
#include "fuse/request_counts.h"
#include "fuse/tree.h"

struct session;

struct session_options {
    const char *mountpoint;   /* absolute, resolved */
    const char *source;       /* what mount(8) and df show as the device */
    bool allow_other;         /* others than the user who mounts may look; as root always */
    unsigned long mount_attr; /* MOUNT_ATTR_* to add at the mount point (root), such as noexec */
    bool answers_open;        /* the kernel asks for each open: see live_file.h */
    const char *user_options; /* the same for fusermount3, comma-separated, or NULL */
};

/*
 * The mount is gone: unmounted by somebody, or its connection was aborted; session_is_dead() tells.
 * In the first case it may be attached again.
 */
typedef void session_ended_fn(void *userdata);

/*
 * Mount and start to serve.
 * @tree:  borrowed, outlives the session
 * @ended: called from the loop at most once for each session_attach(), never after session_free()
 * Return: 0, *ret_session is the caller's; -errno with @e.
 */
int session_new(sd_event *event, struct tree *tree, const struct session_options *options,
                session_ended_fn *ended, void *userdata, struct session **ret_session,
                struct error *e);

/*
 * Unmount, if that has not happened yet, and stop serving. Consumers that still use the mount keep
 * it busy; then it is detached, and their next access fails.
 * Return: NULL.
 */
struct session *session_free(struct session *session);
DEFINE_CLEANUP(struct session *, session_free)

/*
 * Show the tree at the mount point, read-only. As an ordinary user it is there already.
 * Return: 0; -ENOTCONN when the session is dead; -errno with @e.
 */
int session_attach(struct session *session, struct error *e);

/* Whether its connection has ended, so that nothing of it can be read any more. */
bool session_is_dead(const struct session *session);

/*
 * Mount a directory of the attached mount, and nothing of the rest, on another directory:
 * read-only, and with @mount_attr (MOUNT_ATTR_*) besides. As root only. Looking for @name is served
 * by the session's threads.
 * @target_fd: a descriptor (O_PATH will do) of the directory to mount on, of any thread
 * Thread: the publisher's.
 * Return: 0, *ret_mount_id is the new mount's as statx(2) knows it; -errno with @e, and nothing was
 * mounted.
 */
int session_bind(struct session *session, const char *name, int target_fd, unsigned long mount_attr,
                 uint64_t *ret_mount_id, struct error *e);

/* The device number of the mount, by which stat(2) tells it from others. */
dev_t session_device(const struct session *session);

/*
 * The writable view: a descriptor (O_PATH) of the root for *at() calls, until session_end_write().
 * Between the two nobody changes the mount. Any call on it is served by the session's threads, so a
 * thread of theirs must never do this.
 * Thread: the publisher's.
 * Return: 0; -ENOTCONN when the mount is gone or hidden under another one.
 */
int session_begin_write(struct session *session, int *ret_root_fd);
void session_end_write(struct session *session, int root_fd);

/*
 * Have the kernel forget what it has cached, and then answer the opens that have waited for a
 * switch to end. Waits until that is done.
 * @all, @n: in their order; NULL and 0 for nothing to forget
 * Thread: the publisher's.
 */
void session_notify(struct session *session, const struct notification *all, size_t n);

/*
 * Have the session's threads answer something. Thread: the publisher's. Return: 0; -errno.
 */
int session_probe(struct session *session);

/* Whose changes are accepted from now on: a thread id. 0 for nobody's. Thread: any. */
void session_set_publisher(struct session *session, int tid);

/* Add the requests of a session. NULL is fine. Thread: any. */
void session_count_requests(const struct session *session, struct request_counts *counts);
