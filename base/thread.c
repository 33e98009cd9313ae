/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

int thread_start(pthread_t *ret_thread, size_t stack_bytes, void *(*main)(void *), void *userdata)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, stack_bytes);
    r = pthread_create(ret_thread, &attr, main, userdata);
    pthread_attr_destroy(&attr);
    return -r;
}

void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attr);
    pthread_condattr_destroy(&attr);
}

bool condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, mono_us until)
{
    const struct timespec t = {.tv_sec = (time_t)(until / 1000000),
                               .tv_nsec = (long)(until % 1000000) * 1000};

    return (until == SPAN_FOREVER ? pthread_cond_wait(condition, mutex)
                                  : pthread_cond_timedwait(condition, mutex, &t)) == 0;
}
