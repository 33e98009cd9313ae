/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Sends signals to containers on a thread of its own: to look for their processes takes
 * milliseconds, of which a container may choose how many, and the right to signal processes of all
 * users is that thread's alone. See signaller.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "node/pod_signal.h"

struct signaller;

/*
 * The end of an order.
 * @owner: as in signaller_send(); it may have ended since
 */
typedef void signaller_done_fn(void *userdata, uint64_t owner, const struct pod_signal *signal,
                               const struct pod_signal_result *result);

/* The thread starts with the first order. Return: 0, *ret_signaller is the caller's; -errno. */
int signaller_new(sd_event *event, signaller_done_fn *done, void *userdata,
                  struct signaller **ret_signaller);
/* Waits until all orders are sent; done() is called for them, and may not send. Return: NULL. */
struct signaller *signaller_free(struct signaller *signaller);
DEFINE_CLEANUP(struct signaller *, signaller_free)

/*
 * Order a signal; done() is called once, not from within this call. The caller bounds the number of
 * its orders.
 * @signal: copied
 * Return: 0; -errno with @e.
 */
int signaller_send(struct signaller *signaller, uint64_t owner, const struct pod_signal *signal,
                   struct error *e);
