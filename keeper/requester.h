/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The process that has requested a hand-over with HANDOVER=1, `secretfs upgrade`. It has sent a
 * socket: what the command prints with --check goes there, then the outcome as the last line, and
 * then the keeper closes it. The keeper never waits for this process.
 */

#define KEEPER_HANDOVER_DONE   "HANDOVER=done"   /* the next process is ready */
#define KEEPER_HANDOVER_FAILED "HANDOVER=failed" /* the running process goes on */

/*
 * Send the outcome, and close the socket.
 * @fd: -1 afterwards; -1: no process waits, and this function does nothing
 * @reason: a line before the outcome; NULL: none
 */
void keeper_requester_answer(int *fd, const char *reason, const char *outcome);
