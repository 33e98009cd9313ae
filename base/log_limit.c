/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_limit.h"

bool log_limit_allow(struct log_limit *limit, mono_us now, size_t *ret_dropped)
{
    assert(limit->burst > 0 && limit->n_allowed <= limit->burst);
    if (limit->n_allowed == 0 || now - limit->began_at >= limit->period) {
        limit->began_at = now;
        limit->n_allowed = 0;
    }
    if (limit->n_allowed >= limit->burst) {
        limit->n_dropped++;
        return false;
    }
    limit->n_allowed++;
    *ret_dropped = limit->n_dropped;
    limit->n_dropped = 0;
    return true;
}
