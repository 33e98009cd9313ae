/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/stats.h"

void http_stats_count(struct http_stats *stats, int status)
{
    size_t i;

    for (i = 0; i < stats->n_codes && stats->codes[i].status != status; i++)
        continue;
    if (i == HTTP_STATS_CODES_MAX)
        return;
    if (i == stats->n_codes)
        stats->codes[stats->n_codes++].status = status;
    stats->codes[i].n++;
}
