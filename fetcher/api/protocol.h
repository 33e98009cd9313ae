/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The API server's protocol, for lists and watches: paths, versions, refusals. */
#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/error.h"

/* Append @text with the escapes of a query. Return: as buf_add(). */
int protocol_add_escaped(struct buf *b, const char *text) MUST_CHECK;

/* An object's or list's resourceVersion. Return: borrowed; "": none. */
const char *protocol_resource_version(const cJSON *json);

/*
 * Whether resourceVersion @a is older than @b. They are opaque (J4), so this only starts a check by
 * a consistent list. Return: false also when they cannot be compared.
 */
bool protocol_is_older(const char *a, const char *b);

/* A Status's code. Return: 0: none. */
int protocol_status_code(const cJSON *status);

/*
 * Explain a response that is an error, and what to do.
 * @message: the server's, or NULL
 * @allow: the remedy of a 403: ": allow ..."
 */
void protocol_explain_refusal(int status, const char *message, const char *allow, struct error *e);

/* The same for a Status that came as an ERROR event. */
void protocol_explain_end(const cJSON *status, struct error *e);
