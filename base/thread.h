/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Threads with small stacks that run soon after they wake, and conditions whose timed waits use the
 * clock of mono_us. */
#include <pthread.h>

#include "base/clock.h"
#include "base/util.h"

/*
 * Start a thread. It has the capabilities of the caller.
 * @stack_bytes: it is locked memory, so the default of some MiB would count against that limit
 * Thread: any. Return: 0, *ret_thread has to be joined; -errno of pthread_create(3).
 */
int thread_start(pthread_t *ret_thread, size_t stack_bytes, void *(*main)(void *),
                 void *userdata) MUST_CHECK;

/*
 * Ask for a short slice of processor time, so that the scheduler lets the calling thread run soon
 * after it wakes, beside others that are busy. Its share of the processors stays the same. What it
 * starts later inherits the slice, threads and programs. A policy other than SCHED_OTHER is left as
 * it is.
 * Thread: any. Return: 0, also if the kernel ignores the slice, as before Linux 6.12; -errno of
 * sched_getattr(2) or sched_setattr(2), such as -EPERM from a filter of system calls.
 */
int thread_shorten_slice(void);

void condition_init(pthread_cond_t *condition);

/*
 * Wait for a signal; it may end without one. The mutex is held.
 * @until: SPAN_FOREVER for no limit
 * Thread: any. Return: false: @until has passed.
 */
bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, mono_us until);
