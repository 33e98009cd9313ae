/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which process it is that opened a file. Reads text that the kernel makes: /proc/PID/stat and
 * /proc/PID/cgroup, the owner of /proc/PID, and the inode numbers of directories of /sys/fs/cgroup.
 * Nothing that a container provides is opened: no link below /proc is followed, and neither file
 * waits for the process.
 *
 * Thread: any.
 */
#include <sys/fanotify.h>

#include "consumers/identity.h"
#include "consumers/table.h"

/*
 * @event: of a group with FAN_REPORT_PIDFD
 * Return: its pidfd, the caller's to close; negative: the process has been reaped.
 */
int process_event_pidfd(const struct fanotify_event_metadata *event);

/*
 * @pidfd: of @pid; shows that the number was not given to another process meanwhile
 * Return: whether the process exists, running or not reaped yet.
 */
bool process_identify(pid_t pid, int pidfd, struct consumer_identity *ret_identity);

/*
 * The same by the number of one of its threads, without a pidfd.
 * @opened_ticks: when that thread ran, since boot. One that started later has got the number of
 * another. Within one tick of 10 ms no number is given out twice, as the kernel takes all others
 * first (32,768 by default).
 * Return: whether the thread still exists; the identity is its process's.
 */
bool process_identify_opener(pid_t thread, uint64_t opened_ticks,
                             struct consumer_identity *ret_identity);
/* The time now, in the ticks of identity_process. */
uint64_t process_ticks_now(void);

/* Whether a consumer still runs. One of which that cannot be found out runs. */
enum consumer_life process_life(const struct consumer_identity *identity);
