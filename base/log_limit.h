/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A limit for log lines that many objects have to say at once, such as all volumes of a node when
 * its API server goes away: so many in a period, and with the next one how many were left out.
 *
 * Thread: that of whoever owns it.
 */
#include "base/clock.h"

struct log_limit {
    unsigned burst; /* lines in a period, at least 1 */
    span_us period;
    mono_us began_at; /* the period under way */
    unsigned n_allowed;
    size_t n_dropped;
};

#define LOG_LIMIT_INIT(lines, span)                                                                \
    (struct log_limit)                                                                             \
    {                                                                                              \
        .burst = (lines), .period = (span)                                                         \
    }

/*
 * Whether a line may be written now.
 * @ret_dropped: if so, how many might not since the last that might
 */
bool log_limit_allow(struct log_limit *limit, mono_us now, size_t *ret_dropped);
