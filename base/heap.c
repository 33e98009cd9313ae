/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap that wipes what is freed.
 *
 * Secret values pass through libraries on their way in: libcurl, nghttp2, OpenSSL, cJSON and
 * libyaml keep copies in memory of their own, some with hooks for an allocator, some without. So
 * this file replaces the C library's malloc family in the whole process: each block is overwritten
 * when it is freed, also those of libraries.
 *
 *  - free() wipes the usable size, all that the block's owner could have written to.
 *  - realloc() never lets the C library move a block, which would leave the old copy behind: here a
 *    block that has to move is allocated, copied, wiped and freed.
 *
 * The C library still manages the heap, through the names that glibc exports for this purpose. A
 * build under a sanitizer keeps the sanitizer's heap.
 */
#include "base/heap.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEAP_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HEAP_IS_SANITIZED 1
#endif
#endif

#ifdef HEAP_IS_SANITIZED

bool heap_wipes(void)
{
    return false;
}

#else

extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);

bool heap_wipes(void)
{
    return true;
}

void free(void *p)
{
    int saved = errno;

    if (p == NULL)
        return;
    explicit_bzero(p, malloc_usable_size(p));
    __libc_free(p);
    errno = saved;
}

void *realloc(void *p, size_t size)
{
    size_t usable;
    void *moved;

    if (p == NULL)
        return __libc_malloc(size);
    if (size == 0) {
        free(p);
        return NULL;
    }
    usable = malloc_usable_size(p);
    /* Shrinking in place keeps the tail until free(); so a block shrunk to half is moved. */
    if (size <= usable && size >= usable / 2)
        return p;
    moved = __libc_malloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, size < usable ? size : usable);
    free(p);
    return moved;
}

void *reallocarray(void *p, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, total);
}

#endif
