/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notices that the keeper behind a socket has ended, or does not run yet, connects to the next one,
 * and has its owner store everything again. Until then the next process of the service has nothing
 * to take.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "handover/fd_store.h"

struct keeper_watch;

#define KEEPER_WATCH_INTERVAL SPAN_SEC(1) /* of attempts to connect; a pod takes seconds */

/* The store is connected to an empty keeper. */
typedef void keeper_watch_fn(void *userdata);

/*
 * Without a keeper behind a socket there is nothing to watch: *ret_watch is NULL.
 * @store: borrowed until keeper_watch_free()
 * Return: 0, *ret_watch is the caller's; -ENOMEM; -errno of the loop.
 */
int keeper_watch_new(sd_event *event, struct fd_store *store, keeper_watch_fn *on_reconnected,
                     void *userdata, struct keeper_watch **ret_watch);
/* Return: NULL. */
struct keeper_watch *keeper_watch_free(struct keeper_watch *watch);
DEFINE_CLEANUP(struct keeper_watch *, keeper_watch_free)
