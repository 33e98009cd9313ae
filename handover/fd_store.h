/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The descriptor store: descriptors that outlive this process because another one keeps them. What
 * this process stores, the next process of the same service takes.
 *
 * Who keeps them:
 * - the service manager, systemd or `secretfs keeper`: it receives messages at NOTIFY_SOCKET and
 *   hands descriptors to a new process at its start. Source: sd_notify(3), sd_listen_fds(3),
 *   https://systemd.io/FILE_DESCRIPTOR_STORE/.
 * - a keeper in another container, which listens on a Unix socket (secretfs-keeper(8), --socket):
 *   the same messages, in both directions, on one connection.
 *
 * Thread: the event loop's.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

struct fd_store;

/* systemd allows names of this length, of printable ASCII characters without ":". */
#define FD_STORE_NAME_MAX 255
/* As many as one message over a Unix socket carries: SCM_MAX_FD of the kernel. */
#define FD_STORE_FDS_MAX  253

/* In the environment: the path of a keeper's socket. */
#define FD_STORE_KEEPER_SOCKET_VARIABLE "SECRETFS_KEEPER_SOCKET"

/* Whether the service manager takes it. Source: FDNAME= in sd_notify(3). */
bool fd_store_name_is_valid(const char *name);

/*
 * Whether the environment names a keeper's socket. It gives what it keeps to one process at a time,
 * so that a check beside the running process cannot read it: fd_store_new() would wait for that
 * process's end.
 */
bool fd_store_has_keeper_socket(void);

/*
 * Receive what an earlier process has stored. The environment variables that describe it are
 * removed, so that no child takes it for its own. All descriptors are close-on-exec.
 * @keeper_socket: path of a keeper's socket; NULL: SECRETFS_KEEPER_SOCKET of the environment, and
 *                 without it the service manager. While another process is connected to the
 *                 keeper, this call waits for its end. A keeper that does not run yet is no error:
 *                 see fd_store_reconnect().
 * Thread: main, before any other thread runs.
 * Return: 0, *ret_store is the caller's; -EINVAL or -EBADF with @e: the variables are malformed or
 * name descriptors that are not open; -EPROTO: invalid response of the keeper; -EACCES: the keeper
 * belongs to another user; -ENOMEM; -errno of the socket.
 */
int fd_store_new(const char *keeper_socket, struct fd_store **ret_store, struct error *e);

/*
 * Return: whether stored descriptors outlive this process. false without NOTIFY_SOCKET, or if the
 * service manager says that it keeps none (FDSTORE=0, since systemd 254). An older systemd with
 * FileDescriptorStoreMax=0 ignores what is stored, and no process can learn that.
 */
bool fd_store_is_available(const struct fd_store *store);

/*
 * Return: whether what is stored outlives this process if it ends now: the service manager says so
 * (FDSTORE), or the keeper's socket is connected.
 */
bool fd_store_is_certain(const struct fd_store *store);

/*
 * Take a received descriptor; several may have one name, and the one stored first is the first.
 * Return: a descriptor, the caller's; -ENOENT.
 */
int fd_store_take(struct fd_store *store, const char *name);

/*
 * What has been received and not been taken: descriptors of a newer or older program, or sockets
 * of a service manager. fd_store_free() closes them; they remain stored.
 * Return: the name, valid until the next take; NULL at the end.
 */
const char *fd_store_peek_name(const struct fd_store *store, size_t index);

enum fd_store_until {
    FD_STORE_UNTIL_REMOVED,
    /* The keeper closes it when poll(2) reports POLLHUP or POLLERR: a mount's device after the last
     * unmount. */
    FD_STORE_UNTIL_HANGUP,
};

/*
 * Store a duplicate of @fd. A descriptor of the same open file that is stored already is not stored
 * twice and keeps its first name. The keeper ignores what exceeds its limit, with a message in its
 * log. Without a keeper this function does nothing.
 * @name: a valid name
 * Return: 0: the keeper has it in its queue, from which it survives this process, or no keeper is
 * connected; -errno, with @e.
 */
int fd_store_put(struct fd_store *store, const char *name, int fd, enum fd_store_until until,
                 struct error *e);

/* Have all stored descriptors of this name closed. Return: as fd_store_put(). */
int fd_store_remove(struct fd_store *store, const char *name, struct error *e);

/*
 * Wait until the keeper has processed all messages before this call.
 * Return: 0; -ETIMEDOUT, -errno with @e.
 */
int fd_store_sync(struct fd_store *store, span_us timeout, struct error *e);

/*
 * A keeper behind a socket can end, and what it kept is gone, or run later than this process.
 * Meanwhile the next process of this service has nothing to take.
 */
bool fd_store_is_behind_socket(const struct fd_store *store);

/*
 * Return: the connection, on which epoll(7) reports EPOLLHUP when the keeper has ended; borrowed
 * until fd_store_reconnect() or fd_store_free(). -1: no keeper was there, or the store is at the
 * service manager.
 */
int fd_store_peek_fd(const struct fd_store *store);

/*
 * Connect to the keeper that listens at the same path now. It has nothing that this process can
 * use: the caller stores everything again. On a host under load it responds late, and not before
 * another process that is connected to it ends: then the caller calls again when epoll(7) reports
 * something on the connection.
 * Return: 0; FD_STORE_WAITS: *ret_fd is the connection, borrowed until the next call; -errno with
 * @e: the earlier connection stays, try again later.
 */
enum { FD_STORE_WAITS = 1 };
int fd_store_reconnect(struct fd_store *store, int *ret_fd, struct error *e);

/* Closes what was not taken, and the connection to a keeper. Return: NULL. */
struct fd_store *fd_store_free(struct fd_store *store);
DEFINE_CLEANUP(struct fd_store *, fd_store_free)
