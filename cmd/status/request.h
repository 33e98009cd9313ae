/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Requests the status of volumes from the processes that serve them, and merges the documents.
 *
 * A volume has the members that status_document_volume() writes, and those of its process.
 */
#include "encoding/json.h"

/* Volumes in a list: twice as many as were measured on a node. */
#define STATUS_VOLUMES_MAX 10000u

/*
 * Request one volume, with all members of its process.
 * @path: in the volume
 * @is_debug: with the debugging members
 * Return: 0, *ret_volume is the caller's; -errno with @e.
 */
int status_request(const char *path, bool is_debug, cJSON **ret_volume, struct error *e);

/*
 * The same as a list. Return: 0, *ret_list is the caller's: {"items": [the volume]}; -errno with
 * @e.
 */
int status_request_list(const char *path, bool is_debug, cJSON **ret_list, struct error *e);

/*
 * Request all volumes in this mount namespace that the caller may access, sorted by mount point.
 * A mount whose process is dead has the state "dead", one whose process does not answer "unknown".
 * Return: 0, *ret_list is the caller's: {"processes": [...], "items": [...]}, and "errors" with a
 * text for each process that could not be reached; -errno with @e.
 */
int status_request_all(bool is_debug, cJSON **ret_list, struct error *e);

/*
 * The same of the caller's own mounts. Root may access each user's, but a user can send any
 * document from a process that serves a mount: what a command then does must not follow it.
 */
int status_request_own(bool is_debug, cJSON **ret_list, struct error *e);

/* Print the errors of a list. Return: 0; -EIO if it has one. */
int status_print_errors(const cJSON *list);

/*
 * Parse a status document.
 * @list: the process and its volumes are added to it as above
 * Return: 0; -EINVAL for an invalid document, -E2BIG past STATUS_VOLUMES_MAX, -ENOMEM; with @e.
 */
int status_parse(const char *document, cJSON *list, struct error *e);
