/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library to preload: the wall clock and the boot clock of the program differ from the kernel's
 * by what the file CLOCKS_FILE has, two numbers of seconds that a test may change at any time.
 * Timers of both clocks that are set already end in accordance, as the kernel does it for its own.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TIMERS_MAX 64
#define LOOK_EVERY ((struct timespec){.tv_nsec = 2000000})

struct offsets {
    int64_t wall, boot;
};

static struct {
    int fd, flags, is_set;
    clockid_t clock;
    struct itimerspec until;
} timers[TIMERS_MAX];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const volatile struct offsets *offsets;
static size_t n_timers;

static int64_t offset_of(clockid_t clock)
{
    if (offsets == NULL)
        return 0;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        return offsets->wall;
    return clock == CLOCK_BOOTTIME ? offsets->boot : 0;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, clock, t);

    if (r == 0)
        t->tv_sec += offset_of(clock);
    return r;
}

time_t time(time_t *ret_time)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_time != NULL)
        *ret_time = now.tv_sec;
    return now.tv_sec;
}

/* Where the offset has brought the clock past the timer's end already, it ends at once. */
static int set(size_t i, struct itimerspec *old)
{
    struct itimerspec until = timers[i].until;

    if ((timers[i].flags & TFD_TIMER_ABSTIME) != 0 && until.it_value.tv_sec > 0) {
        until.it_value.tv_sec -= offset_of(timers[i].clock);
        if (until.it_value.tv_sec <= 0)
            until.it_value = (struct timespec){.tv_nsec = 1};
    }
    return (int)syscall(SYS_timerfd_settime, timers[i].fd, timers[i].flags, &until, old);
}

int timerfd_create(clockid_t clock, int flags)
{
    int fd = (int)syscall(SYS_timerfd_create, clock, flags);

    pthread_mutex_lock(&lock);
    if (fd >= 0 && n_timers < TIMERS_MAX) {
        timers[n_timers].fd = fd;
        timers[n_timers++].clock = clock;
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *until, struct itimerspec *old)
{
    size_t i;
    int r;

    pthread_mutex_lock(&lock);
    for (i = n_timers; i > 0 && timers[i - 1].fd != fd; i--)
        ;
    if (i > 0) {
        timers[i - 1].flags = flags;
        timers[i - 1].until = *until;
        timers[i - 1].is_set = 1;
        r = set(i - 1, old);
    } else {
        r = (int)syscall(SYS_timerfd_settime, fd, flags, until, old);
    }
    pthread_mutex_unlock(&lock);
    return r;
}

__attribute__((noreturn)) static void *follow_offsets(void *unused)
{
    struct offsets seen = *offsets;

    (void)unused;
    for (;;) {
        struct offsets now = *offsets;

        pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_timers && (now.wall != seen.wall || now.boot != seen.boot); i++)
            if (timers[i].is_set)
                set(i, NULL);
        pthread_mutex_unlock(&lock);
        seen = now;
        nanosleep(&LOOK_EVERY, NULL);
    }
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CLOCKS_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    sigset_t all, before;
    pthread_t thread;
    void *map;

    if (fd < 0)
        abort();
    map = mmap(NULL, sizeof(*offsets), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
    offsets = map;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, NULL, follow_offsets, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
