/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The status socket of a mount: a client that connects receives the status document, and may keep
 * the connection to see when the process ends.
 *
 * Its name is the mount's device number, which stat(2) returns for every path in the mount, also
 * where it is bind-mounted. Its directory is accessible to its owner only: /run/secretfs for root,
 * /run/user/UID/secretfs or else /tmp/secretfs-UID for an ordinary user.
 *
 * The document is sent without a request. A client that wants the debugging members binds its own
 * socket to an abstract name that says so, before it connects: the server knows the name when it
 * accepts, and one of an older version ignores it.
 */
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/kept_socket.h"
#include "serve/mounts.h"

/*
 * Sizes of a status document and of the part that is written at a time, so that a long document
 * neither fills memory nor blocks the loop. A volume takes less than 1 KiB as a rule, and less than
 * 128 KiB with the maximum of sources.
 */
#define STATUS_PART_MAX     (1u << 20)
#define STATUS_DOCUMENT_MAX (16u << 20)

struct status_socket;

/*
 * Write a part of the document.
 * @is_debug: the client requests what helps to debug
 * @cursor: 0 for the first part; the callee sets it so that it can continue there
 * Return: 0 when the document is complete; STATUS_MORE; -errno, then the connection is closed.
 */
#define STATUS_MORE 1
typedef int status_write_fn(void *userdata, bool is_debug, uint64_t *cursor, struct buf *part);

/*
 * @keep: the socket outlives the process; borrowed; NULL: it does not
 * Return: 0, *ret_socket is the caller's; -errno with @e.
 * Thread: the event loop's.
 */
int status_socket_new(sd_event *event, dev_t device, const struct kept_socket *keep,
                      status_write_fn *write, void *userdata, struct status_socket **ret_socket,
                      struct error *e);
/*
 * The same at a path of the caller's, in a directory that only its owner can write to.
 * Return: also -ENAMETOOLONG.
 */
int status_socket_new_at(sd_event *event, const char *path, const struct kept_socket *keep,
                         status_write_fn *write, void *userdata, struct status_socket **ret_socket,
                         struct error *e);
/*
 * Accept no more clients. Unless the next process takes the socket over, remove its name, before
 * the mount goes: the next mount may get the same device number. Connections last until
 * status_socket_free().
 */
void status_socket_close(struct status_socket *status);
/* Return: NULL. */
struct status_socket *status_socket_free(struct status_socket *status);
DEFINE_CLEANUP(struct status_socket *, status_socket_free)

/* ---- for clients */

/*
 * A loop that serves 1,000 volumes answers within 100 ms; `secretfs status` and `unmount` answer
 * within 2 s whatever the process does.
 */
#define STATUS_TIMEOUT_MS 1500

/*
 * Connect to the process that serves the mount of @path.
 * @is_debug: request the debugging members
 * Return: 0, *ret_fd is the caller's; -ENOENT when @path is in no secretfs mount; -ENOTCONN when
 * the process is dead; -ETIMEDOUT if it accepts no connection; -EACCES for another user's mount;
 * other -errno; with @e.
 */
int status_socket_connect(const char *path, bool is_debug, int *ret_fd, struct error *e);

/*
 * Whether a process serves a mount without a control socket, as it could not make one. Takes up to
 * half a second.
 * @path: of the mount point
 */
#define STATUS_SOCKET_MISSING                                                                      \
    "its process has no control socket, so what it shows is unknown: its log has the reason"
bool status_socket_is_served(const char *path);

/*
 * The same by the mount.
 * @timeout_ms: bounds connect(2), and then each read(2) of the socket
 * Return: as status_socket_connect(), also -ETIMEDOUT.
 */
int status_socket_connect_mount(const struct mount_entry *entry, bool is_debug, unsigned timeout_ms,
                                int *ret_fd, struct error *e);

/*
 * Connect to a socket of status_socket_new_at().
 * @timeout_ms: as above
 * Return: 0, *ret_fd is the caller's; -ETIMEDOUT; -ENAMETOOLONG; -errno of connect(2); with @e.
 */
int status_socket_connect_path(const char *path, unsigned timeout_ms, int *ret_fd, struct error *e);

/* Return: the ID of the process at the other end; 0 if unknown. */
pid_t status_socket_process(int fd);
/*
 * Whether that process has ended: the connection waits in the queue of a socket that is kept, or
 * the next process has it. false if unknown.
 */
bool status_socket_has_ended(int fd);

/*
 * Read the whole document.
 * Return: 0; -ETIMEDOUT if the process does not send, since it is stopped or hangs; -errno; with
 * @e.
 */
int status_socket_receive(int fd, struct buf *document, struct error *e);
