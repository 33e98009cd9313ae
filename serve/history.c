/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/history.h"

#include <stdio.h>

void history_add(struct history *history, size_t source, const char *version, struct timespec at)
{
    struct history_entry *entry = &history->entries[history->n % HISTORY_MAX];

    if (version[0] == '\0')
        return;
    entry->source = source;
    entry->at = at;
    snprintf(entry->version, sizeof(entry->version), "%s", version);
    history->n++;
}

const struct history_entry *history_get(const struct history *history, size_t i)
{
    size_t first = history->n > HISTORY_MAX ? history->n - HISTORY_MAX : 0;

    return first + i < history->n ? &history->entries[(first + i) % HISTORY_MAX] : NULL;
}
