/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The control socket of a mount: whoever connects is sent a status document and may keep the
 * connection to see the program end.
 *
 * It is found by the mount's device number, which stat(2) gives for every path in the mount, in
 * whatever place it is bind-mounted. It lies in a directory that only its owner can enter:
 * /run/secretfs for root, /run/user/UID/secretfs or else /tmp/secretfs-UID for an ordinary user.
 */
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/error.h"
#include "serve/mounts.h"

/*
 * A status document, and what of it is made at a time, so that one that is long neither fills the
 * memory of the program nor keeps it from its work. A volume has less than 1 KiB as a rule, and
 * less than 128 KiB with as many sources as there may be.
 */
#define CONTROL_PART_MAX     (1u << 20)
#define CONTROL_DOCUMENT_MAX (16u << 20)

struct status_socket;

/*
 * Write a part of the document.
 * @cursor: what the last part was, for the callee to say; 0 at the beginning
 * Return: 0 when it is complete; CONTROL_MORE; -errno, then the client is sent no more.
 */
#define CONTROL_MORE 1
typedef int control_document_fn(void *userdata, uint64_t *cursor, struct buf *part);

/*
 * Return: 0, *ret_control is the caller's; -errno with @e.
 * Thread: the event loop's.
 */
int status_socket_new(sd_event *event, dev_t device, control_document_fn *document, void *userdata,
                      struct status_socket **ret_control, struct error *e);
/*
 * Take no new clients, and leave the socket's name to whoever is given the device number next. To
 * be called before the mount goes; those who are connected stay so until status_socket_free().
 */
void status_socket_close(struct status_socket *control);
/* Return: NULL. */
struct status_socket *status_socket_free(struct status_socket *control);
DEFINE_CLEANUP(struct status_socket *, status_socket_free)

/* ---- for clients */

/*
 * Connect to the program behind a path in one of its mounts.
 * Return: 0, *ret_fd is the caller's; -ENOENT for what is no secretfs mount; -ENOTCONN when its
 * program is gone; other -errno; with @e.
 */
int status_socket_connect(const char *path, int *ret_fd, struct error *e);

/* The same by what is known of the mount. Return: 0; -EACCES; -ENOTCONN; other -errno. */
int status_socket_connect_mount(const struct mount_entry *entry, int *ret_fd);

/* Read the whole document that the program sends. Return: 0; -errno with @e. */
int status_socket_receive(int fd, struct buf *document, struct error *e);
