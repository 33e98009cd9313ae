/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A payload: path -> bytes, mode and owner: the content of one generation of a volume. Immutable
 * and counted. It copies no value: a file points into its object and holds a reference to it.
 */
#include <sys/types.h>

#include "cache/object.h"

/* Longest path that the kubelet accepts, and longest element. Source: B6. */
#define PAYLOAD_PATH_MAX     4096
#define PAYLOAD_ELEMENT_MAX  255
/*
 * Elements of a path. The kubelet has no limit but the one above, 2,048. Paths in container images
 * have up to about 30; each update makes and removes the directories on the way.
 */
#define PAYLOAD_ELEMENTS_MAX 64

#define PAYLOAD_ID_INHERITED ((uid_t)-1) /* the directory's */

struct payload_attributes {
    mode_t mode; /* the low 9 bits */
    uid_t uid;   /* or PAYLOAD_ID_INHERITED */
    gid_t gid;   /* or PAYLOAD_ID_INHERITED */
};

struct payload_file {
    char *path;            /* cleaned: relative, no "." or "..", single slashes */
    struct object *object; /* referenced; owns bytes */
    const uint8_t *bytes;
    size_t len;
    struct payload_attributes attributes;
};

struct payload {
    const struct payload_file *files; /* sorted by path */
    size_t n_files;
};

struct payload_builder;

/* Return: 0, *ret_builder is the caller's; -ENOMEM. */
int payload_builder_new(struct payload_builder **ret_builder);
struct payload_builder *payload_builder_free(struct payload_builder *builder);
DEFINE_CLEANUP(struct payload_builder *, payload_builder_free)

/*
 * Return: why a path is invalid, or NULL. Both the path as written and as it would be cleaned are
 * checked, so that "./..data" is refused. Source: B6 to B8.
 */
const char *payload_path_fault(const char *raw_path);

/*
 * Add a file. A later file at the same cleaned path replaces an earlier one (B3, N2).
 * @raw_path: checked by payload_path_fault() and cleaned
 * @object:   owns @entry; a reference is taken
 * Return: 0; -EINVAL for a path that the kubelet refuses or should, with @e; -ENOMEM.
 * Source: B5 to B8.
 */
int payload_builder_add(struct payload_builder *builder, const char *raw_path,
                        struct object *object, const struct object_entry *entry,
                        const struct payload_attributes *attributes, struct error *e);

/*
 * Make a payload of the added files; the builder is empty afterwards, on failure too.
 * Return: 0, *ret_payload is the caller's; -EINVAL when one file's path lies below another file
 * (B8); -ENOMEM.
 */
int payload_builder_finish(struct payload_builder *builder, struct payload **ret_payload,
                           struct error *e);

/* Thread: any. Return: @payload. */
struct payload *payload_ref(struct payload *payload);
/* Thread: any. Return: NULL. */
struct payload *payload_unref(struct payload *payload);
DEFINE_CLEANUP(struct payload *, payload_unref)

/* Whether a write can be skipped: same paths, same bytes, without regard to modes. E1 to E3. */
bool payload_same_content(const struct payload *a, const struct payload *b);

/* The length of the first element of a path, which gets a link in the volume's root (A7). */
static inline size_t payload_first_len(const char *path)
{
    return strcspn(path, "/");
}
