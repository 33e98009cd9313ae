/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* From manifests to the same manifests with csi volumes, and back. */
#include "base/buf.h"
#include "base/error.h"

struct convert_options {
    bool reverts;
    bool adopts_tokens; /* kube-api-access-* volumes, too */
};

/*
 * Convert a stream of YAML or JSON documents by the rules of deploy/adopt. All but the volumes
 * stays as it is, byte by byte.
 * @result: has REWRITE_MAX_BYTES at least; is appended to
 * Return: 0; -EINVAL with @e, which names the line, for invalid text or a form that cannot be
 * edited; -ENOMEM; -EFBIG at the buffer's limit.
 */
int convert(const char *text, size_t len, const struct convert_options *options, struct buf *result,
            struct error *e);
