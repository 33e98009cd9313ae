/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Payloads for tests. For inclusion behind <cmocka.h>. */
#include "volume/payload.h"

static inline void payload_make_file(struct payload_builder *builder, const char *path,
                                     const char *value)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "dummy"}};
    const struct object_input input = {.key = "k", .text = value, .len = strlen(value)};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = PAYLOAD_ID_INHERITED, .gid = PAYLOAD_ID_INHERITED};
    _cleanup_(object_unrefp) struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    assert_int_equal(
        payload_builder_add(builder, path, object, &object->entries[0], &attributes, NULL), 0);
}

/*
 * @files: "path=value" with blanks between them; each value is of an object of its own
 * Return: the caller's.
 */
static inline struct payload *payload_make(const char *files)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(freep) char *copy = strdup(files);
    struct payload *payload = NULL;
    char *at = copy, *path;

    assert_int_equal(payload_builder_new(&builder), 0);
    while ((path = strsep(&at, " ")) != NULL) {
        char *value = strchr(path, '=');

        if (value == NULL)
            continue;
        *value++ = '\0';
        payload_make_file(builder, path, value);
    }
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}
