/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Makes private keys on a thread of its own, one after the other: a key of RSA4096 takes seconds of
 * processor time, and the event loop must not wait for it. See key_maker.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "fetcher/certificate_key.h"

struct key_maker;
struct key_order;

/*
 * The order is freed before the call.
 * @key: consumed; NULL if it cannot be made, for the reason @e
 */
typedef void key_made_fn(void *userdata, struct certificate_key *key_consumed,
                         const struct error *e);

/* The thread starts with the first order. Return: 0, *ret_maker is the caller's; -errno. */
int key_maker_new(sd_event *event, struct key_maker **ret_maker);
/* All orders must be done or freed. NULL is fine. Return: NULL. */
struct key_maker *key_maker_free(struct key_maker *maker);
DEFINE_CLEANUP(struct key_maker *, key_maker_free)

/*
 * Order a key; made() is called once, not from within this call.
 * @type: see certificate_key_new(); copied
 * Return: 0, *ret_order is the caller's until made() is called; -errno with @e.
 */
int key_maker_order(struct key_maker *maker, const char *type, key_made_fn *made, void *userdata,
                    struct key_order **ret_order, struct error *e);
/* made() will not be called. NULL is fine. Return: NULL. */
struct key_order *key_order_free(struct key_order *order);
