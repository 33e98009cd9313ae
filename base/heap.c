/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap that forgets.
 *
 * Secret values pass through libraries on their way in: libcurl, nghttp2, OpenSSL, cJSON and
 * libyaml all keep copies in memory of their own, some with hooks for an allocator, some without.
 * Instead of a hook here and a gap there, this file stands in for the C library's malloc family in
 * the whole process: every block is overwritten when it is freed, whoever allocated it.
 *
 *  - free() wipes the usable size, which is what the block's last owner could have written to.
 *  - realloc() never lets the C library move a block, as that would leave the old copy behind:
 *    a block that has to move is allocated, copied, wiped and freed here.
 *
 * The C library still does the work of managing the heap, through the names that glibc exports for
 * this purpose. It is part of the programs only, never of unit tests under a sanitizer.
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
    /* Shrinking in place keeps the tail until free(); a much smaller block is worth moving. */
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
