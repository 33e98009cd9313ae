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
#include "consumers/identity.h"
#include "consumers/table.h"

/*
 * @pidfd: of @pid; shows that the number was not given to another process meanwhile
 * Return: whether the process exists, running or not reaped yet.
 */
bool process_identify(pid_t pid, int pidfd, struct consumer_identity *ret_identity);

/* Whether a consumer still runs. One of which that cannot be found out runs. */
enum consumer_life process_life(const struct consumer_identity *identity);
