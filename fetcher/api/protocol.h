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

/* A response whose status is not the one that was expected. Strings are borrowed. */
struct protocol_refusal {
    int status;
    const struct buf *body;
    const char *allow; /* the remedy for 403: begins with ": " */
    const char *user;  /* whose credentials were sent, and where they are; NULL: unknown or none */
};

/* Explain a refusal: what the server answered, and what to do. */
void protocol_explain_refusal(const struct protocol_refusal *refusal, struct error *e);

/* The same for a Status that came as an ERROR event. */
void protocol_explain_end(const cJSON *status, struct error *e);
