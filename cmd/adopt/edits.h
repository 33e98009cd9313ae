/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Changes of a text at places that do not overlap. */
#include "base/buf.h"

struct edit {
    size_t at;
    size_t removed; /* bytes of the text */
    char *text;     /* owned; what is put there */
    size_t order;   /* of several at one place the first comes first */
};

struct edits {
    struct edit *list;
    size_t n;
    size_t room;
};

/* @text: copied. Return: 0 or -ENOMEM. */
int edits_add(struct edits *edits, size_t at, size_t removed, const char *text);

/* Append the text with all changes. Return: 0; -ENOMEM; -EFBIG at the buffer's limit. */
int edits_apply(struct edits *edits, const char *text, size_t len, struct buf *result);

void edits_deinit(struct edits *edits);
