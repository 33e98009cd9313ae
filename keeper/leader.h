/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The first thread of a process, with which the process counts as dead though others remain. */
#include <sys/types.h>

#include "base/util.h"

/*
 * @pid: a child of this process that was not reaped, so that the number is its own
 * Return: whether its first thread is a zombie. Source: the third field in proc_pid_stat(5).
 */
bool keeper_leader_is_dead(pid_t pid);
