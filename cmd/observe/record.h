/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One update of a volume as inotify shows it: from the first event of the new generation to the
 * last one before the next. Kept as JSON:
 *
 *   {"time": ..., "generation": ..., "added": [...], "changed": [...], "removed": [...],
 *    "events": ["CREATE ..2026_...", ...]}
 *
 * and, of a secretfs volume, "object", or "objects" of a projected one, with kind, namespace, name
 * and resourceVersion, and "latencySeconds". With --object, "sinceChange" has the version that
 * arrived and the seconds since then.
 *
 * Two kinds of record have no update: a change of the object, {"time": ..., "change": {...}}, and
 * the first open of a file of a version by a process, {"time": ..., "open": {...}}.
 */
#include "base/buf.h"
#include "cache/object.h"
#include "cmd/observe/opens.h"
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

/* The volume shows what arrived as @version so long ago. */
int record_add_change(struct record *record, const char *version, span_us since);

void record_deinit(struct record *record);

/* The object is another one now. @version: NULL: it was deleted. Return: NULL without memory. */
cJSON *record_of_change(const struct object_key *key, const char *version);

/*
 * A process has opened a file.
 * @shown_at: of the generation; 0: unknown
 * Return: NULL without memory.
 */
cJSON *record_of_open(const char *path, const char *generation, const char *file,
                      const struct opened *opened, mono_us shown_at);

/*
 * Append the record for people. Control characters of names are replaced by "?".
 * @with_path: say which volume it is
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int record_print(const cJSON *record, bool with_path, struct buf *text);
