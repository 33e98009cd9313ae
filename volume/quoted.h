/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A text in quotes, as the kubelet writes the values of labels and annotations. See quoted.c. */
#include "base/buf.h"

/*
 * Append a text in double quotes.
 * @text: UTF-8, with NULs as JSON_NUL
 * Return: 0; -EFBIG, -ENOMEM as buf_add().
 * Source: kubelet-semantics.md Y3.
 */
int quoted_add(struct buf *buf, const char *text) MUST_CHECK;
