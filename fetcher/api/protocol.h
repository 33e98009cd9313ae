/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What each list and watch knows of the API server's protocol: paths, versions, refusals. */
#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/error.h"

/* Append what may stand in a query, with escapes. Return: as buf_add(). */
int protocol_add_escaped(struct buf *b, const char *text) MUST_CHECK;

/* An object's or list's resourceVersion. Return: borrowed; "" if there is none. */
const char *protocol_resource_version(const cJSON *json);

/*
 * Whether one resourceVersion is older than another. They are opaque (J4), so this is only used to
 * become suspicious. Return: false also when they cannot be compared.
 */
bool protocol_is_older(const char *a, const char *b);

/* A Status's code. Return: 0 if there is none. */
int protocol_status_code(const cJSON *status);

/*
 * What a refusal means and what to do.
 * @message: what the server said, or NULL
 * @allow: what to allow, for a 403: ": allow ..."
 */
void protocol_explain_refusal(int status, const char *message, const char *allow, struct error *e);

/* The same for a Status that came as an ERROR event. */
void protocol_explain_end(const cJSON *status, struct error *e);
