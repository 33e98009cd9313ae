/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Members of a JSON object to members of a C struct, by a table. Null and the empty string are as
 * good as absent, as they are in Go; a value of another type is an error; what the table does not
 * name is not looked at.
 */
#include <stddef.h>

#include "base/error.h"
#include "encoding/json.h"

enum field_type {
    FIELD_TEXT,    /* char *, NULL if empty */
    FIELD_LINE,    /* the same without control bytes */
    FIELD_PATH,    /* char *, made absolute */
    FIELD_COMMAND, /* char *, made absolute if it has a slash */
    FIELD_DATA,    /* char *, PEM under its base64 */
    FIELD_FLAG,    /* bool */
    FIELD_LINES,   /* char **, NULL if empty */
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
};

/*
 * @file: the absolute path of the file that @json is from; relative paths in it are relative to its
 * directory
 * @base: the struct, zeroed before; what it holds afterwards is its owner's to free, on failure too
 * Return: 0; -EINVAL with the field named in @e; -ENOMEM.
 */
int fields_read(const cJSON *json, const char *file, const struct field *fields, size_t n,
                void *base, struct error *e);

/* For the FIELD_LINES of a struct; NULL is fine. */
void strings_free(char **strings);

/* Return: new text, or NULL for want of memory. */
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);
