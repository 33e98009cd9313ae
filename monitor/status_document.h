/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What is told about volumes and the process behind them: what `secretfs status` shows. Names and
 * numbers, no values.
 *
 * A process tells itself first, then each of its volumes, as JSON objects one behind the other; a
 * volume's has a "mountpoint", the process's has not.
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "encoding/json.h"
#include "fetcher/source.h"
#include "serve/published.h"

/*
 * Add the members of a process.
 * @kind: "mount" or "node"
 * @counts: of the FUSE requests that it has served
 * Return: 0 or -ENOMEM.
 */
int status_document_process(const char *kind, struct timespec started_at,
                            const struct request_counts *counts, cJSON *json);

/*
 * Add the members of a source, without how it is doing for some object.
 * @identity: whose rights it uses, if there may be several sources; NULL if not
 * Return: 0 or -ENOMEM.
 */
int status_document_source(const struct source *source, const char *identity, cJSON *json);

/*
 * Add the members of a volume.
 * @target: where its readers find it
 * @source: described along with it, for a process with one volume; NULL to leave that out
 * @identity: of the source, as told for the process; NULL for none
 * Return: 0 or -ENOMEM.
 */
int status_document_volume(const struct published *published, const char *target,
                           const struct source *source, const char *identity, cJSON *json);

/* Append an object, which is freed, as one line. NULL is -ENOMEM. Return: 0; -ENOMEM; -EFBIG. */
int status_document_print(cJSON *json_consumed, struct buf *text);
