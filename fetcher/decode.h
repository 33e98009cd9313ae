/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* From a Secret or ConfigMap as a JSON document to an object. Nothing else is read or changed. */
#include <cjson/cJSON.h>

#include "cache/object.h"

/* What is known about a document beforehand. Everything may be NULL; strings are borrowed. */
struct decode_expect {
    /* NULL: the document has to say apiVersion and kind. Otherwise it may leave them out, as the
     * items of an API server's list do, but not say something else. */
    const enum object_kind *kind;
    const char *default_namespace; /* where metadata has none; NULL: metadata must have one */
    const char *resource_version;  /* NULL: metadata's, or "" */
};

/*
 * Which object a document is of; the rest of it is not looked at.
 * @ret_key: its strings are borrowed from @json and @expect
 * Return: 0; DECODE_OTHER_KIND for a document that is no Secret or ConfigMap, @e is not touched;
 * -EINVAL with @e for one without a valid name and namespace.
 * Source: kubelet-semantics.md L2.
 */
#define DECODE_OTHER_KIND 1
int decode_key(const cJSON *json, const struct decode_expect *expect, struct object_key *ret_key,
               struct error *e);

/*
 * Return: 0, *ret_object is the caller's reference; -EINVAL when the document is not what was
 * expected, with the field or the key named in @e but never a value; -EFBIG above
 * OBJECT_DATA_MAX_BYTES; -ENOMEM. @e does not name the object, as the caller knows it.
 * Source: kubelet-semantics.md L1 to L3, L6 to L8, M2.
 */
int decode_object(const cJSON *json, const struct decode_expect *expect, struct object **ret_object,
                  struct error *e);
