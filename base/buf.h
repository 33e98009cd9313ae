/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Growing bytes with a limit. They are wiped when the buffer moves or is freed (heap.c), so it may
 * hold secret bytes for a while. There is always a NUL after the last byte.
 *
 * Thread: any; a buffer is one thread's at a time.
 */
#include "base/cleanup.h"
#include "base/util.h"

struct buf {
    char *data; /* NULL before the first byte */
    size_t len;
    size_t capacity;
    size_t max_len;
};

#define BUF_INIT(max)                                                                              \
    (struct buf)                                                                                   \
    {                                                                                              \
        .max_len = (max)                                                                           \
    }

/* Append. Return: 0; -EFBIG beyond the limit; -ENOMEM. Nothing is added on failure. */
int buf_add(struct buf *b, const void *bytes, size_t len) MUST_CHECK;
int buf_add_text(struct buf *b, const char *text) MUST_CHECK;
int buf_addf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

/* Remove the first @len bytes. */
void buf_drop_front(struct buf *b, size_t len);

/* Remove and wipe all bytes; keep the memory. */
void buf_reset(struct buf *b);

void buf_deinit(struct buf *b);

/* The text, borrowed until the next change of the buffer; never NULL. */
static inline const char *buf_text(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}

/*
 * Read a descriptor to its end and append.
 * Return: 0; -EFBIG beyond the limit; -ENOMEM; read(2)'s errors.
 */
int buf_read_fd(struct buf *b, int fd) MUST_CHECK;

/* As buf_read_fd() for a file by path, relative to @dir_fd as for openat(2), with its errors. */
int buf_read_file(struct buf *b, int dir_fd, const char *path) MUST_CHECK;
