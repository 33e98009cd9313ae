/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Decodes a Secret or ConfigMap in JSON into an object. */
#include <cjson/cJSON.h>

#include "cache/object.h"

/* What the caller knows about a document. All members may be NULL; strings are borrowed. */
struct decode_expect {
    /* NULL: the document must have apiVersion and kind. Otherwise it may leave them out, as the
     * items of an API server's list do, but not have others. */
    const enum object_kind *kind;
    const char *default_namespace; /* NULL: metadata must have one */
    const char *resource_version;  /* NULL: metadata's, or "" */
    bool is_strict;                /* unknown fields are errors, as the API server has them */
};

/*
 * The key of a document's object; the rest of the document is not checked.
 * @ret_key: its strings are borrowed from @json and @expect
 * Return: 0; DECODE_OTHER_KIND unless it is a Secret or ConfigMap, without @e;
 * -EINVAL with @e for one without a valid name and namespace, and with is_strict for one whose kind
 * or apiVersion is almost right.
 * Source: kubelet-semantics.md L2.
 */
#define DECODE_OTHER_KIND 1
int decode_key(const cJSON *json, const struct decode_expect *expect, struct object_key *ret_key,
               struct error *e);

/*
 * Return: 0, *ret_object is the caller's reference; -EINVAL for an invalid or unexpected
 * document, with @e, which names the field or the key, never a value; -EFBIG above
 * OBJECT_DATA_MAX_BYTES; -ENOMEM. @e does not name the object: the caller does.
 * Source: kubelet-semantics.md L1 to L3, L6 to L8, M2.
 */
int decode_object(const cJSON *json, const struct decode_expect *expect, struct object **ret_object,
                  struct error *e);
