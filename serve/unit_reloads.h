/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Has systemd reload units, by its bus. See unit_reloads.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/error.h"

struct unit_reloads;
struct unit_reload;

/* The end of a request. @e: empty: the unit was reloaded */
typedef void unit_reload_done_fn(void *userdata, const struct error *e);

/* A systemd's. */
struct unit_bus {
    const char *name; /* "the system bus" */
    /* Open a connection. Return: 0 or positive, *ret_bus is the caller's; -errno. */
    int (*open)(sd_bus **ret_bus);
};
extern const struct unit_bus unit_bus_system;
extern const struct unit_bus unit_bus_user; /* of the user that runs this process */

/* @bus: a constant. Return: 0, *ret_reloads is the caller's; -ENOMEM. */
int unit_reloads_new(sd_event *event, const struct unit_bus *bus,
                     struct unit_reloads **ret_reloads);
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
 * @handle: gets the request, and NULL when that is gone; borrowed until then, or until
 * unit_reload_forget()
 * Return: 0; -errno with @e.
 */
int unit_reloads_start(struct unit_reloads *reloads, const char *unit, unit_reload_done_fn *done,
                       void *userdata, struct unit_reload **handle, struct error *e);
/* The request goes on, and done() is not called any more. NULL is fine. */
void unit_reload_forget(struct unit_reload *reload);
