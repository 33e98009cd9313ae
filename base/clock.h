/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Time, in microseconds as sd-event counts them: points on two clocks, and the span between two
 * points. Both clocks only go forwards; boot time also counts while the machine is suspended, so it
 * measures ages and lifetimes. Wall-clock time, which can be set, appears in names, reports and
 * dates that others wrote only.
 */
#include <stdint.h>
#include <time.h>

#include "base/error.h"

typedef uint64_t mono_us; /* CLOCK_MONOTONIC */
typedef uint64_t boot_us; /* CLOCK_BOOTTIME */
typedef uint64_t span_us;

#define SPAN_MS(n)   ((span_us)(n)*1000)
#define SPAN_SEC(n)  ((span_us)(n)*1000000)
#define SPAN_FOREVER UINT64_MAX

/* Now. Thread: any, as all functions here. */
mono_us clock_mono(void);
boot_us clock_boot(void);
struct timespec clock_wall(void);

/* The delay after @n failures in a row: @first, doubled with each of them, @doublings times at
 * most. */
span_us span_doubled(span_us first, unsigned n, unsigned doublings);

/* The same point or span as the kernel takes it. @us: a mono_us, boot_us or span_us */
struct timespec clock_timespec(uint64_t us);

/* What the wall clock would have shown at @then, if it had been as it is set now. */
struct timespec clock_wall_at(boot_us then);

/* Write RFC 3339 in UTC with milliseconds, as Kubernetes prints times. Return: @buf. */
#define CLOCK_RFC3339_SIZE 32
const char *clock_rfc3339(struct timespec t, char buf[static CLOCK_RFC3339_SIZE]);

/*
 * Parse RFC 3339 as Kubernetes writes it ("2026-01-02T03:04:05Z", with fraction or offset too).
 * Return: 0, or -EINVAL.
 */
int clock_parse_rfc3339(const char *text, struct timespec *ret_time);

/*
 * Parse a duration as kubectl takes it: Go's syntax ("30s", "1m30s", "500ms", "0"), or "forever".
 * Return: 0; -EINVAL with the reason in @e.
 */
int clock_parse_duration(const char *text, span_us *ret_span, struct error *e);
