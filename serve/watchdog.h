/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The watchdog: tells the service manager that the program is alive, as long as its event loop, the
 * publishers' threads and the threads that serve their mounts are. Does nothing where the manager
 * does not want to know (WatchdogSec=).
 */
#include "fuse/publisher.h"

struct watchdog;

#define WATCHDOG_PUBLISHERS_MAX 2 /* a node has two file systems at most */

/* Return: 0, *ret_watchdog is the caller's; -ENOMEM; -errno of the loop. */
int watchdog_new(sd_event *event, struct watchdog **ret_watchdog);
/* One more that has to be alive; borrowed. */
void watchdog_add(struct watchdog *watchdog, struct publisher *publisher);
/* Precedes publisher_free(). Return: NULL. */
struct watchdog *watchdog_free(struct watchdog *watchdog);
DEFINE_CLEANUP(struct watchdog *, watchdog_free)
