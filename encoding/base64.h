/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* base64 of Secrets, kubeconfigs and documents. Thread: any. */
#include "base/util.h"

/* Return: an upper bound of the bytes that @len characters decode to. */
static inline size_t base64_decoded_max(size_t len)
{
    return len / 4 * 3 + 3;
}

/*
 * Decode as Kubernetes does: standard alphabet, padding required, CR and LF skipped anywhere, all
 * other characters refused.
 * @ret_bytes: base64_decoded_max(@len) bytes; written to on failure, too
 * Return: 0; -EINVAL.
 * Source: kubelet-semantics.md L8.
 */
int base64_decode(const char *text, size_t len, uint8_t *ret_bytes, size_t *ret_len) MUST_CHECK;

/* Return: the base64 of @text on one line, the caller's; NULL when out of memory. */
char *base64_encode_text(const char *text);
