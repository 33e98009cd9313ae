/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The watchdog: notifies the service manager as long as the event loop, the publishers' threads and
 * the workers of their mounts respond. It begins with the first publisher. Without WatchdogSec= it
 * probes only for health checks.
 */
#include "fuse/publisher.h"

struct watchdog;

#define WATCHDOG_PUBLISHERS_MAX 2 /* a node has two file systems at most */

/* Return: 0, *ret_watchdog is the caller's; -ENOMEM; -errno of the loop. */
int watchdog_new(sd_event *event, struct watchdog **ret_watchdog);
/* Probe this publisher as well; borrowed. */
void watchdog_add(struct watchdog *watchdog, struct publisher *publisher);

/*
 * Whether the publishers' threads and the workers of their mounts respond. Begins a probe unless
 * one is under way or the last one is recent. A caller that gets WATCHDOG_PENDING may call again.
 * Return: 0 if they responded within WATCHDOG_VALID_FOR; WATCHDOG_PENDING while a probe awaits its
 * answer; -ETIMEDOUT with @e when it has awaited it for WATCHDOG_HUNG_AFTER.
 */
#define WATCHDOG_PENDING    1
#define WATCHDOG_VALID_FOR  SPAN_SEC(1) /* health checks in a row cost one probe */
#define WATCHDOG_HUNG_AFTER SPAN_SEC(2) /* a system call of the publisher takes milliseconds */
int watchdog_check(struct watchdog *watchdog, struct error *e);

/*
 * What watchdog_check() returns, from the times of the probes.
 * @is_awaiting: a probe is under way, and began at @began_at
 * @ended_at: when the last answer came; 0 if none came
 * Return: as watchdog_check().
 */
int watchdog_state(bool is_awaiting, mono_us began_at, mono_us ended_at, mono_us now,
                   struct error *e);

/* Precedes publisher_free(). Return: NULL. */
struct watchdog *watchdog_free(struct watchdog *watchdog);
DEFINE_CLEANUP(struct watchdog *, watchdog_free)
