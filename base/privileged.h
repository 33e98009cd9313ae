/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The one thread that keeps the process's capabilities for the event loop, which has none: it
 * mounts, opens what belongs to other users, and starts the threads that need capabilities as well.
 * As an ordinary user it has none, but may run programs that gain privileges, as fusermount3 does.
 * See privileged.c.
 */
#include "base/error.h"

/* What a call does. @arguments: the caller's struct. Return: 0 or positive; -errno. */
typedef int privileged_fn(void *arguments);

/*
 * Start the thread. It inherits what the calling thread has, and restricts itself.
 * Thread: the event loop's, before it gives up its own capabilities.
 * Return: 0; -errno with @e, and calls run on the caller's thread.
 */
int privileged_start(struct error *e);

/* End the thread, if it was started. Calls run on the caller's thread from then on. */
void privileged_stop(void);

/*
 * Have the thread run @run, and wait for it. Without the thread, and on the thread itself, @run is
 * called directly.
 * Thread: the event loop's.
 * Return: what @run returned.
 */
int privileged_call(privileged_fn *run, void *arguments);

/* The same for calls that seldom need a capability: @run is called directly first, and by the
 * thread if that fails with -EACCES. */
int privileged_retry(privileged_fn *run, void *arguments);

/*
 * The same for running a program: an ordinary user's is run by the thread, with which a set-user-ID
 * program has an effect. Root's is run by the caller's thread, which has no capabilities.
 */
int privileged_run_program(privileged_fn *run, void *arguments);
