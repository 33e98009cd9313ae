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

struct listener;

/* A client has connected; @fd_consumed does not block. Must not free the listener. */
typedef void listener_connected_fn(void *userdata, int fd_consumed);

/*
 * @path: absolute; borrowed, outlives the listener
 * Return: 0, *ret_listener is the caller's; unix_socket_listen()'s errors, -ENOMEM, sd-event's
 * errors, all with @e.
 */
int listener_new(sd_event *event, const char *path, listener_connected_fn *connected,
                 void *userdata, struct listener **ret_listener, struct error *e);
/* Removes the socket's file unless another process has replaced it. Return: NULL. */
struct listener *listener_free(struct listener *listener);
DEFINE_CLEANUP(struct listener *, listener_free)
