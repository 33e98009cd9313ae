/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

mono_us clock_mono(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

boot_us clock_boot(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

struct timespec clock_wall(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

span_us span_doubled(span_us first, unsigned n, unsigned doublings)
{
    return first << (n < doublings ? n : doublings);
}

struct timespec clock_timespec(uint64_t us)
{
    return (struct timespec){.tv_sec = (time_t)(us / SPAN_SEC(1)),
                             .tv_nsec = (long)(us % SPAN_SEC(1)) * 1000};
}

struct timespec clock_wall_at(boot_us then)
{
    struct timespec wall = clock_wall();
    uint64_t age = clock_boot() - then;

    wall.tv_sec -= (time_t)(age / 1000000);
    wall.tv_nsec -= (long)(age % 1000000) * 1000;
    if (wall.tv_nsec < 0) {
        wall.tv_nsec += 1000000000;
        wall.tv_sec--;
    }
    return wall;
}

const char *clock_rfc3339(struct timespec t, char buf[static CLOCK_RFC3339_SIZE])
{
    struct tm utc;
    size_t len;

    gmtime_r(&t.tv_sec, &utc);
    len = strftime(buf, CLOCK_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    assert(len > 0);
    snprintf(buf + len, CLOCK_RFC3339_SIZE - len, ".%03dZ", (int)(t.tv_nsec / 1000000) % 1000);
    return buf;
}

/* The part after the seconds: an optional fraction, then Z or an offset. */
static int parse_rfc3339_tail(const char *p, long *ret_nsec, long *ret_offset_sec)
{
    long nsec = 0, scale = 100000000;
    unsigned hours, minutes;
    char sign;
    int used = 0;

    if (*p == '.') {
        p++;
        if (!isdigit((unsigned char)*p))
            return -EINVAL;
        for (; isdigit((unsigned char)*p); p++, scale /= 10)
            nsec += (*p - '0') * scale;
    }
    *ret_nsec = nsec;
    *ret_offset_sec = 0;
    if (streq(p, "Z") || streq(p, "z"))
        return 0;
    if (sscanf(p, "%c%2u:%2u%n", &sign, &hours, &minutes, &used) != 3 || p[used] != '\0' ||
        (sign != '+' && sign != '-') || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_offset_sec = (long)(hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return 0;
}

int clock_parse_rfc3339(const char *text, struct timespec *ret_time)
{
    struct tm utc = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    long nsec, offset_sec;
    time_t seconds;

    if (rest == NULL || parse_rfc3339_tail(rest, &nsec, &offset_sec) < 0)
        return -EINVAL;
    seconds = timegm(&utc);
    if (seconds == (time_t)-1)
        return -EINVAL;
    *ret_time = (struct timespec){.tv_sec = seconds - offset_sec, .tv_nsec = nsec};
    return 0;
}

static const struct {
    const char *name;
    double us;
} duration_units[] = {
    /* longest first: "ms" must not be read as "m" */
    {"ms", 1e3}, {"us", 1}, {"ns", 1e-3}, {"h", 3600e6}, {"m", 60e6}, {"s", 1e6},
};

static double duration_unit(const char **text)
{
    for (size_t i = 0; i < ELEMENTS_OF(duration_units); i++) {
        const char *rest = str_after(*text, duration_units[i].name);

        if (rest != NULL) {
            *text = rest;
            return duration_units[i].us;
        }
    }
    return 0;
}

/* Return: the sum of numbers with units, in us; a negative number for an invalid duration. */
static double parse_units(const char *p)
{
    double total = *p == '\0' ? -1 : 0;

    while (*p != '\0') {
        const char *number = p;
        char *end;
        double value = strtod(number, &end), unit;

        /* strtod() knows more spellings ("inf", "0x1", "1e3", " 1") than a duration has */
        p += strspn(p, "0123456789.");
        unit = duration_unit(&p);
        if (end == number || strspn(number, "0123456789.") != (size_t)(end - number) || unit == 0)
            return -1;
        total += value * unit;
    }
    return total;
}

int clock_parse_duration(const char *text, span_us *ret_span, struct error *e)
{
    const double limit_us = 1e17; /* about 3000 years; keeps sums of spans far from overflow */
    double us;

    if (streq(text, "forever")) {
        *ret_span = SPAN_FOREVER;
        return 0;
    }
    us = streq(text, "0") ? 0 : parse_units(text);
    if (us < 0 || us > limit_us)
        return error_set(e, -EINVAL,
                         "invalid duration \"%.64s\": use a number with a unit such as 30s, 1m30s "
                         "or 500ms, or \"forever\"",
                         text);
    *ret_span = (span_us)us;
    return 0;
}
