/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/util.h"

/* An upper bound of what @len characters decode to. */
static inline size_t base64_decoded_max(size_t len)
{
    return len / 4 * 3 + 3;
}

/*
 * Decode as Kubernetes does: standard alphabet, padding required, CR and LF skipped anywhere,
 * anything else refused.
 * @ret_bytes: room for base64_decoded_max(@len); written to also on failure
 * Return: 0; -EINVAL.
 * Source: kubelet-semantics.md L8.
 */
int base64_decode(const char *text, size_t len, uint8_t *ret_bytes, size_t *ret_len) MUST_CHECK;

/* Return: the base64 of @text on one line, the caller's; NULL for want of memory. */
char *base64_encode_text(const char *text);
