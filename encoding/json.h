/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Reading documents through cJSON. A member of another type counts as absent. */
#include <cjson/cJSON.h>

#include "base/buf.h"
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

/* Whether it is an object or an array. */
static inline bool json_is_container(const cJSON *j)
{
    return cJSON_IsArray(j) || cJSON_IsObject(j);
}

/* For a tsearch(3) tree of an object's members by their names. */
int json_member_compare(const void *a, const void *b);
/* For tdestroy(3) of such a tree: the members belong to their object. */
void json_member_keep(void *member);

/*
 * Check what cJSON does not: that no object has a name twice, and the depth.
 * @depth_max: of objects and arrays within each other
 * Return: 0; -EINVAL or -ENOMEM with @e.
 */
int json_check_members(const cJSON *j, size_t depth_max, struct error *e);

/* Add a string member; NULL adds nothing. Return: 0 or -ENOMEM. */
int json_add_text(cJSON *j, const char *key, const char *text);
int json_add_number(cJSON *j, const char *key, double n);
int json_add_bool(cJSON *j, const char *key, bool value);

/*
 * Append @j as JSON without "<", ">" and "&", which its strings have as escapes: also a program
 * that takes it for HTML finds no tag in it. Return: 0; -ENOMEM; -EFBIG at the buffer's limit, with
 * a part of it appended.
 */
int json_print_without_tags(const cJSON *j, struct buf *text);

/*
 * The values of one document: each may take thirty times its text, {} for example. An object has
 * 1.5 MiB at most in etcd, which is 170,000 keys, or half of that with the managedFields of each.
 */
#define JSON_MAX_VALUES 400000u

/*
 * Parse exactly @len bytes: one JSON value, followed by nothing but white space.
 * A NUL character in a string (\u0000) is refused, as a cJSON string ends at the first one.
 * Return: 0, *ret_json is the caller's; -EINVAL with @e naming the offset; -E2BIG with @e above
 * JSON_MAX_VALUES, before anything is allocated; -ENOMEM.
 */
int json_parse(const char *text, size_t len, cJSON **ret_json, struct error *e);

/*
 * A NUL within a string, where a function keeps it: two bytes that UTF-8 does not have. Strings end
 * at a NUL, so a NUL in one of them needs another form; json_decode_text() gives it back.
 */
#define JSON_NUL "\xc0\x80"

/*
 * As json_parse(), for documents whose values may have any bytes: a NUL in a string becomes
 * JSON_NUL instead of an error. A text that has these two bytes itself is refused.
 */
int json_parse_with_nul(const char *text, size_t len, cJSON **ret_json, struct error *e);

/*
 * Parse the JSON value at the beginning of @len bytes, as json_parse_with_nul() if @keeps_nul, else
 * as json_parse(). White space in front of it is skipped.
 * @ret_end: the byte behind it
 * Return: as json_parse().
 */
int json_parse_prefix(const char *text, size_t len, bool keeps_nul, cJSON **ret_json,
                      const char **ret_end, struct error *e);

/* Return: whether a string has a NUL in it. */
static inline bool json_text_has_nul(const char *text)
{
    return strstr(text, JSON_NUL) != NULL;
}

/* Return: an upper bound of the bytes that json_encode_text() writes, without the last NUL. */
static inline size_t json_encoded_max(size_t len)
{
    return len * 2;
}

/* Write @len bytes that may have NULs as a string. @ret_text: json_encoded_max(@len) + 1 bytes. */
void json_encode_text(const char *bytes, size_t len, char *ret_text);

/*
 * The bytes of a string.
 * @ret_bytes: @len bytes
 * Return: their number, at most @len.
 */
size_t json_decode_text(const char *text, size_t len, uint8_t *ret_bytes);
