/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the programs that measure share: how they end, and their clock. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* At a fault of the measurement: there is nothing to save, and threads may wait for one another. */
static inline _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    _exit(1);
}

/* @r: 0 or more; or -errno, which ends the program */
static inline void must(int r, const char *what)
{
    if (r < 0)
        die(what, strerror(-r));
}

/* The monotonic clock. */
static inline long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}
