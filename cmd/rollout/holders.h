/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which processes of this host have files of removed generations open or mapped. The daemon counts
 * such files, and has not the right to look at the descriptors of other processes; root at a
 * command line has.
 */
#include "base/buf.h"
#include "encoding/json.h"

/* Lines that are added, at most; one for each process and file. */
#define HOLDERS_MAX 32u

/*
 * Add a line for each file of a removed generation that a process has open or mapped. Without the
 * right to look, and where the path does not say which volume it is of, none is added.
 * @volumes: items of status_request_all()
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int holders_add(const cJSON *volumes, struct buf *lines);

/*
 * Whether the path of a descriptor or mapping, as the kernel shows it, is of a removed generation
 * of a volume: "/run/db/..2026_11_24_02_49_17.3438376822/password (deleted)". Pure.
 * @volume: an item of status_request_all()
 * @pod_uid: of the process that has it, which sees the volume at another path; "": none
 */
bool holders_match(const cJSON *volume, const char *path, const char *pod_uid);
