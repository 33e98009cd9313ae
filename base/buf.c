/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <fcntl.h>
#include <stdarg.h>

#define BUF_MIN_CAPACITY 256
#define READ_CHUNK       16384

/* Reserve @capacity bytes in all, without regard to the limit. */
static int buf_grow(struct buf *b, size_t capacity)
{
    size_t grown = b->capacity < BUF_MIN_CAPACITY ? BUF_MIN_CAPACITY : b->capacity;
    char *data;

    assert(b->len <= b->capacity && (b->data != NULL || b->capacity == 0));
    if (capacity <= b->capacity)
        return 0;
    while (grown < capacity)
        grown *= 2;
    data = realloc(b->data, grown);
    if (data == NULL)
        return -ENOMEM;
    b->data = data;
    b->capacity = grown;
    return 0;
}

static int buf_reserve(struct buf *b, size_t more)
{
    if (more > b->max_len || b->len > b->max_len - more)
        return -EFBIG;
    return buf_grow(b, b->len + more + 1);
}

int buf_add(struct buf *b, const void *bytes, size_t len)
{
    int r = buf_reserve(b, len);

    if (r < 0)
        return r;
    assert(b->len + len < b->capacity);
    if (len > 0)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int buf_add_text(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

int buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;
    int len, r;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return -EINVAL;
    r = buf_reserve(b, (size_t)len);
    if (r < 0)
        return r;
    va_start(args, format);
    vsnprintf(b->data + b->len, (size_t)len + 1, format, args);
    va_end(args);
    b->len += (size_t)len;
    return 0;
}

void buf_drop_front(struct buf *b, size_t len)
{
    assert(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    explicit_bzero(b->data + b->len - len, len);
    b->len -= len;
}

void buf_reset(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->len);
    b->len = 0;
}

void buf_deinit(struct buf *b)
{
    buf_reset(b);
    free(b->data);
    *b = BUF_INIT(b->max_len);
}

int buf_read_fd(struct buf *b, int fd)
{
    for (;;) {
        ssize_t n;
        int r = buf_grow(b, b->len + READ_CHUNK + 1);

        if (r < 0)
            return r;
        n = read(fd, b->data + b->len, READ_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return negative_errno();
        b->len += (size_t)n;
        b->data[b->len] = '\0';
        if (n == 0)
            return 0;
        if (b->len > b->max_len)
            return -EFBIG;
    }
}

int buf_read_file(struct buf *b, int dir_fd, const char *path)
{
    _cleanup_(fd_closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return negative_errno();
    return buf_read_fd(b, fd);
}
