/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The shortest that Linux gives (kernel/sched/syscalls.c, __setparam_fair()). A step of an update
 * takes less. */
#define SLICE_NS 100000u

/* The kernel's struct sched_attr in its first size: glibc before 2.41 has none, and
 * linux/sched/types.h once defined struct sched_param as well. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of SCHED_OTHER: the slice */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

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

int thread_shorten_slice(void)
{
    struct scheduling s;

    if (syscall(SYS_sched_getattr, 0, &s, (unsigned)sizeof(s), 0u) < 0)
        return negative_errno();
    if (s.policy != SCHED_OTHER)
        return 0;
    s.runtime_ns = SLICE_NS;
    return syscall(SYS_sched_setattr, 0, &s, 0u) < 0 ? negative_errno() : 0;
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
    const struct timespec t = clock_timespec(until);

    return (until == SPAN_FOREVER ? pthread_cond_wait(condition, mutex)
                                  : pthread_cond_timedwait(condition, mutex, &t)) == 0;
}
