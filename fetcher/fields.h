/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reads members of a JSON object into members of a C struct, by a table. Null and the empty string
 * count as absent, as in Go; a value of another type is an error; members that are not in the table
 * are ignored.
 */
#include <stddef.h>

#include "base/error.h"
#include "encoding/json.h"

enum field_type {
    FIELD_TEXT,    /* char *, NULL if empty */
    FIELD_LINE,    /* the same without control bytes */
    FIELD_PATH,    /* char *, made absolute */
    FIELD_COMMAND, /* char *, made absolute if it has a slash */
    FIELD_DATA,    /* char *, PEM that the JSON has in base64 */
    FIELD_FLAG,    /* bool */
    FIELD_TEXTS,   /* char **, NULL if empty */
    FIELD_LINES,   /* the same without control bytes */
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
};

/*
 * @file: the absolute path of @json's file, to whose directory paths in it are relative
 * @base: the struct, zeroed; its owner frees its members, on failure too
 * Return: 0; -EINVAL with @e, which names the field; -ENOMEM.
 */
int fields_read(const cJSON *json, const char *file, const struct field *fields, size_t n,
                void *base, struct error *e);

/* For the FIELD_TEXTS and FIELD_LINES of a struct; NULL is fine. */
void strings_free(char **strings);

/* Return: new text, the caller's; NULL for want of memory. */
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);
