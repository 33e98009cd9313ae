/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The listening sockets of a service in its descriptor store; see kept_sockets.c.
 *
 * Thread: the event loop's.
 */
#include "base/kept_socket.h"
#include "handover/fd_store.h"

struct kept_sockets;

#define KEPT_SOCKETS_MAX 8 /* two of CSI, two of status, of health and of metrics */

/*
 * @store: borrowed, outlives it
 * Return: 0, *ret_all is the caller's; -ENOMEM.
 */
int kept_sockets_new(struct fd_store *store, struct kept_sockets **ret_all);
/* What is stored remains stored. Return: NULL. */
struct kept_sockets *kept_sockets_free(struct kept_sockets *all);
DEFINE_CLEANUP(struct kept_sockets *, kept_sockets_free)

/*
 * A socket of the service, for the object that listens on it.
 * @name: unique, a constant; without "."
 */
struct kept_socket kept_sockets_get(struct kept_sockets *all, const char *name);

/* Remove what an earlier process has stored and this one has not taken. */
void kept_sockets_drop_rest(struct kept_sockets *all);

/* Store all of them at a keeper that has nothing. */
void kept_sockets_store_again(const struct kept_sockets *all);

/* The process ends, and the next one takes over what is stored. */
void kept_sockets_leave(struct kept_sockets *all);
