/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Reading documents through cJSON. A member of another type counts as absent. */
#include <cjson/cJSON.h>

#include "base/cleanup.h"
#include "base/error.h"

static inline void cJSON_Deletep(cJSON **j)
{
    cJSON_Delete(*j);
}

/* Member @key of an object. Return: borrowed from @j, or NULL; @j may be NULL. */
const cJSON *json_member(const cJSON *j, const char *key);
/* The same down a path of members ending in NULL. */
const cJSON *json_path(const cJSON *j, ...) __attribute__((sentinel));
/* A member that is a string: borrowed, or NULL. */
const char *json_text(const cJSON *j, const char *key);
/* Whether a member is true; any other value counts as false. */
bool json_is_true(const cJSON *j, const char *key);

/* Add a string member; NULL adds nothing. Return: 0 or -ENOMEM. */
int json_add_text(cJSON *j, const char *key, const char *text);
int json_add_number(cJSON *j, const char *key, double n);
int json_add_bool(cJSON *j, const char *key, bool value);

/*
 * Parse exactly @len bytes: one JSON value, followed by nothing but white space.
 * A NUL character in a string (\u0000) is refused, as a cJSON string ends at the first one.
 * Return: 0, *ret_json is the caller's; -EINVAL with @e naming the offset; -ENOMEM.
 */
int json_parse(const char *text, size_t len, cJSON **ret_json, struct error *e);

/*
 * Parse the JSON value at the beginning of @len bytes. White space in front of it is skipped.
 * @ret_end: the byte behind it
 * Return: as json_parse().
 */
int json_parse_prefix(const char *text, size_t len, cJSON **ret_json, const char **ret_end,
                      struct error *e);
