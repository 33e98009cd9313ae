/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A limit for log lines that many objects write at once, such as all volumes of a node when its API
 * server fails: a number of lines in a period, and with the next line how many were dropped.
 *
 * Thread: that of the owner.
 */
#include "base/clock.h"

struct log_limit {
    unsigned burst; /* lines in a period, at least 1 */
    span_us period;
    mono_us began_at; /* of the present period */
    unsigned n_allowed;
    size_t n_dropped;
};

#define LOG_LIMIT_INIT(lines, span)                                                                \
    (struct log_limit)                                                                             \
    {                                                                                              \
        .burst = (lines), .period = (span)                                                         \
    }

/*
 * Return: whether a line may be written now.
 * @ret_dropped: if so, how many were dropped since the last one
 */
bool log_limit_allow(struct log_limit *limit, mono_us now, size_t *ret_dropped);
