/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The watchdog: notifies the service manager as long as the event loop, the publishers' threads and
 * the workers of their mounts respond. It begins with the first publisher. Without WatchdogSec= it
 * does nothing.
 */
#include "fuse/publisher.h"

struct watchdog;

#define WATCHDOG_PUBLISHERS_MAX 2 /* a node has two file systems at most */

/* Return: 0, *ret_watchdog is the caller's; -ENOMEM; -errno of the loop. */
int watchdog_new(sd_event *event, struct watchdog **ret_watchdog);
/* Probe this publisher as well; borrowed. */
void watchdog_add(struct watchdog *watchdog, struct publisher *publisher);
/* Precedes publisher_free(). Return: NULL. */
struct watchdog *watchdog_free(struct watchdog *watchdog);
DEFINE_CLEANUP(struct watchdog *, watchdog_free)
