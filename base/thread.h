/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Threads with small stacks, and conditions whose timed waits use the clock of mono_us. */
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

void condition_init(pthread_cond_t *condition);

/*
 * Wait for a signal; it may end without one. The mutex is held.
 * @until: SPAN_FOREVER for no limit
 * Thread: any. Return: false: @until has passed.
 */
bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, mono_us until);
