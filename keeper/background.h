/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Running in the background: the keeper is the child of a process that waits until the command is
 * ready, or has failed, and exits with its status. See background.c.
 */
#include "base/error.h"

/* In the environment of the command: one of the two values below. */
#define KEEPER_BACKGROUND_VARIABLE "SECRETFS_BACKGROUND"
#define KEEPER_BACKGROUND_STARTING "starting" /* messages are for the terminal of the caller */
#define KEEPER_BACKGROUND_RUNNING  "running"  /* messages are for the system's log */

/*
 * Fork. Returns in the child only.
 * Return: the descriptor for the report, on which poll(2) reports POLLERR when the caller has
 * ended; -errno with @e, in the caller, when fork failed.
 */
int keeper_background_enter(struct error *e);

/*
 * Leave the terminal and the session, report to the system's log, and let the caller exit with 0.
 * Does nothing without a caller that waits. Standard error stays, for the command, if it is a file.
 * @report_fd: of keeper_background_enter(); -1: none, as afterwards
 */
void keeper_background_ready(int *report_fd);
