/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reading the fields of a document. An error names the field by its path, such as
 * projected.sources[1].secret.items[0].mode.
 *
 * As in Go, a field that is null counts as absent. Unlike there, an unknown field is an error: a
 * misspelt one would show other files than were meant.
 */
#include "encoding/json.h"

/* Where in a document a value is: a chain of names and indices, on the stack. */
struct field {
    const struct field *parent; /* NULL: the root */
    const char *name;           /* NULL: an element of a list; "": a root without a name */
    size_t index;
};

#define FIELD(parent_, name_)                                                                      \
    (struct field)                                                                                 \
    {                                                                                              \
        .parent = (parent_), .name = (name_)                                                       \
    }
#define FIELD_AT(parent_, index_)                                                                  \
    (struct field)                                                                                 \
    {                                                                                              \
        .parent = (parent_), .index = (index_)                                                     \
    }

/* Put the field's path in front of @e. Return: @r. */
int field_error(const struct field *field, struct error *e, int r);

/* Return: the member @name of @json, borrowed; NULL if it is absent or null. */
const cJSON *field_member(const cJSON *json, const char *name);

/*
 * @json is the value of @field; the functions read its member @name.
 * @known, @ignored: names separated by ", "
 * Return: 0; -EINVAL with @e. They write to their outputs on success only.
 */

/* @json is a mapping without members other than the @known ones. @e suggests the nearest one. */
int field_check_members(const cJSON *json, const struct field *field, const char *known,
                        struct error *e);
/* @json may be NULL, which is a valid empty list. */
int field_check_list(const cJSON *json, const struct field *field, struct error *e);
/* *ret_text is borrowed from @json; NULL if the member is absent. */
int field_read_text(const cJSON *json, const struct field *field, const char *name,
                    const char **ret_text, struct error *e);
/* As field_read_text() for a member that has to be there and not empty. */
int field_read_required_text(const cJSON *json, const struct field *field, const char *name,
                             const char **ret_text, struct error *e);
/* A whole number from 0 to @max. *value is unchanged if the member is absent. */
int field_read_number(const cJSON *json, const struct field *field, const char *name, unsigned max,
                      unsigned *value, struct error *e);
/* false if the member is absent. */
int field_read_flag(const cJSON *json, const struct field *field, const char *name, bool *ret_flag,
                    struct error *e);
/*
 * Find the member of a mapping that must have exactly one, @ignored ones aside.
 * Return: the member; NULL with @e.
 */
const cJSON *field_find_only(const cJSON *json, const struct field *field, const char *ignored,
                             const char *known, struct error *e);
