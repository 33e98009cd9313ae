/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A UNIX socket of the event loop that accepts connections and restores its file. See listener.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/kept_socket.h"

struct listener;

/* A client has connected; @fd_consumed does not block. Must not free the listener. */
typedef void listener_connected_fn(void *userdata, int fd_consumed);

/*
 * @path: absolute; borrowed, outlives the listener
 * @keep: the socket outlives the process; NULL: it does not
 * Return: 0, *ret_listener is the caller's; unix_socket_listen()'s errors, -ENOMEM, sd-event's
 * errors, all with @e.
 */
int listener_new(sd_event *event, const char *path, const struct kept_socket *keep,
                 listener_connected_fn *connected, void *userdata, struct listener **ret_listener,
                 struct error *e);
/*
 * Removes the socket's file unless another process has replaced it, or the next one takes the
 * socket over. Return: NULL.
 */
struct listener *listener_free(struct listener *listener);
DEFINE_CLEANUP(struct listener *, listener_free)

/* Whether the socket is one of an earlier process. */
bool listener_has_taken_over(const struct listener *listener);
/* The owner's request of kept_socket.is_on_request. */
void listener_keep(const struct listener *listener);
