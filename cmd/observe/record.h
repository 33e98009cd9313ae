/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One update of a volume as inotify shows it: from the first event of the new generation to the
 * last one before the next. Kept as JSON:
 *
 *   {"time": ..., "generation": ..., "added": [...], "changed": [...], "removed": [...],
 *    "events": ["CREATE ..2026_...", ...]}
 *
 * and, of a secretfs volume, "object" with namespace, name and resourceVersion, and
 * "latencySeconds".
 */
#include "base/buf.h"
#include "cmd/observe/snapshot.h"
#include "encoding/json.h"

/* Of one update; those beyond are counted as "eventsDropped". */
#define RECORD_EVENTS_MAX 1000

struct record {
    cJSON *json;   /* owned; NULL: nothing has happened yet */
    bool is_shown; /* ..data was renamed, so the record is an update */
    double n_dropped;
};

/* Return: 0; -ENOMEM. As all functions below. */
int record_add_event(struct record *record, uint32_t mask, const char *name);

/* The volume shows @generation now. @from, @to: what it has shown, and shows. */
int record_show(struct record *record, const char *generation, const struct snapshot *from,
                const struct snapshot *to);

/*
 * Add what the process that serves the volume says.
 * @status: of status_request(); NULL, or of another generation: nothing is added
 */
int record_add_status(struct record *record, const cJSON *status);

void record_deinit(struct record *record);

/*
 * Append the record for people. Control characters of names are replaced by "?".
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int record_print(const cJSON *record, struct buf *text);
