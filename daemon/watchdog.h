/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The watchdog: tells the service manager that the program is alive, as long as its event loop, the
 * publisher's thread and the threads that serve the mount are. Does nothing where the manager does
 * not want to know (WatchdogSec=).
 */
#include "fuse/publisher.h"

struct watchdog;

/* @publisher: borrowed. Return: 0, *ret_watchdog is the caller's; -ENOMEM; -errno of the loop. */
int watchdog_new(sd_event *event, struct publisher *publisher, struct watchdog **ret_watchdog);
/* Precedes publisher_free(). Return: NULL. */
struct watchdog *watchdog_free(struct watchdog *watchdog);
DEFINE_CLEANUP(struct watchdog *, watchdog_free)
