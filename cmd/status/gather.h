/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Asks the programs behind mounts how their volumes are doing, and puts the answers together.
 *
 * A volume comes out as what status_document_volume() says, with what is known of its process.
 */
#include "encoding/json.h"

/* Volumes that are listed; as many as a node is known to do well with, twice. */
#define STATUS_VOLUMES_MAX 10000u

/*
 * One volume, with all that its process tells of itself.
 * @path: in the volume
 * Return: 0, *ret_volume is the caller's; -errno with @e.
 */
int status_ask(const char *path, cJSON **ret_volume, struct error *e);

/*
 * All volumes that can be seen and asked about, in the order of their mount points. The volume of a
 * dead program has the state "dead".
 * Return: 0, *ret_list is the caller's: {"processes": [...], "items": [...]}, and "errors" with the
 * texts of what could not be asked; -errno with @e.
 */
int status_ask_all(cJSON **ret_list, struct error *e);

/*
 * Take a document apart.
 * @list: gets the process and its volumes added as above
 * Return: 0; -EINVAL for what is no such document, -E2BIG past STATUS_VOLUMES_MAX, -ENOMEM; with
 * @e.
 */
int status_parse(const char *document, cJSON *list, struct error *e);
