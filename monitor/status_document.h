/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The status document: what `secretfs status` shows of a process and its volumes. Names, states and
 * numbers; never a value of an object.
 *
 * It is one JSON object a line: the process first, then each of its volumes. Only a volume has a
 * "mountpoint".
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "encoding/json.h"
#include "fetcher/source.h"
#include "handover/handover.h"
#include "serve/published.h"

/*
 * Add the members of a process.
 * @kind: "mount" or "node"
 * @counts: FUSE requests that it has served
 * Return: 0 or -ENOMEM.
 */
int status_document_process(const char *kind, struct timespec started_at,
                            const struct request_counts *counts, cJSON *json);

/*
 * Add the members of a source, without its state for an object.
 * @identity: whose rights it uses; NULL for the only source of a process
 * Return: 0 or -ENOMEM.
 */
int status_document_source(const struct source *source, const char *identity, cJSON *json);

/*
 * Add the members of a volume.
 * @target: the path where readers see it
 * @source: added as well, for a process with one volume; NULL: not added
 * @identity: of the source, as in status_document_source(); NULL for none
 * Return: 0 or -ENOMEM.
 */
int status_document_volume(const struct published *published, const char *target,
                           const struct source *source, const char *identity, cJSON *json);

/*
 * Add whether a file system outlives the process: an object in the list "handover".
 * @file_system: its name; NULL for the only one of a process
 * @handover: NULL: it does not
 * Return: 0 or -ENOMEM.
 */
int status_document_handover(const char *file_system, struct handover *handover, cJSON *json);

/*
 * What helps to debug, for a client that requests it: add the state of the reflectors to a source's
 * object, and "debug" with the state of the publisher's queue to a volume's.
 * Return: 0 or -ENOMEM.
 */
int status_document_debug_source(const struct source *source, cJSON *json);
int status_document_debug_volume(const struct published *published, cJSON *json);

/* Append an object as one line and free it. Return: 0; -ENOMEM, also for NULL; -EFBIG. */
int status_document_print(cJSON *json_consumed, struct buf *text);
