/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Has systemd reload units, by the system bus. See unit_reloads.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/error.h"

struct unit_reloads;

/*
 * The end of a request.
 * @owner: as in unit_reloads_start(); it may have ended since
 * @e: empty: the unit was reloaded
 */
typedef void unit_reload_done_fn(void *userdata, uint64_t owner, const struct error *e);

/* Open a connection. Return: 0 or positive, *ret_bus is the caller's; -errno. */
typedef int unit_bus_open_fn(sd_bus **ret_bus);

/*
 * @open: sd_bus_open_system(), or a test in its place
 * Return: 0, *ret_reloads is the caller's; -ENOMEM.
 */
int unit_reloads_new(sd_event *event, unit_bus_open_fn *open, unit_reload_done_fn *done,
                     void *userdata, struct unit_reloads **ret_reloads);
/*
 * Waits a second at most for requests that systemd has not answered. For those that it has answered
 * done() is called, although the reload may go on. NULL is fine. Return: NULL.
 */
struct unit_reloads *unit_reloads_free(struct unit_reloads *reloads);
DEFINE_CLEANUP(struct unit_reloads *, unit_reloads_free)

/*
 * Request the reload of a unit; done() is called once, not from within this call. The caller bounds
 * the number of its requests.
 * @unit: "nginx.service"
 * Return: 0; -errno with @e.
 */
int unit_reloads_start(struct unit_reloads *reloads, uint64_t owner, const char *unit,
                       struct error *e);
