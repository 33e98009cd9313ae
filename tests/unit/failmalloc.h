/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Stands in for the C library's malloc family in a unit test, so that a test can let the n-th
 * allocation fail and see whether everything was given back. Libraries are concerned as well. For
 * inclusion in the one source file of a test program.
 *
 * A sanitizer brings its own heap; there nothing is made to fail.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILMALLOC_IS_OFF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAILMALLOC_IS_OFF 1
#endif
#endif

/* What is tried: 0 or -ENOMEM, and either way nothing may be left allocated. */
typedef int failmalloc_fn(void *userdata);

#ifdef FAILMALLOC_IS_OFF

static inline void failmalloc_try(failmalloc_fn *attempt, void *userdata)
{
    attempt(userdata);
}

#else

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);

static struct {
    bool is_on;
    unsigned long countdown; /* the allocation that makes it 0 fails */
    bool has_failed;
    long balance; /* blocks allocated and not freed while on */
} failmalloc;

static bool failmalloc_fails(void)
{
    if (!failmalloc.is_on || failmalloc.countdown == 0 || --failmalloc.countdown > 0)
        return false;
    failmalloc.has_failed = true;
    errno = ENOMEM;
    return true;
}

static void *failmalloc_count(void *p)
{
    failmalloc.balance += failmalloc.is_on && p != NULL;
    return p;
}

void *malloc(size_t size)
{
    return failmalloc_fails() ? NULL : failmalloc_count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return failmalloc_fails() ? NULL : failmalloc_count(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    if (failmalloc_fails())
        return NULL;
    return p == NULL ? failmalloc_count(__libc_realloc(p, size)) : __libc_realloc(p, size);
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

void free(void *p)
{
    failmalloc.balance -= failmalloc.is_on && p != NULL;
    __libc_free(p);
}

/*
 * Run @attempt with the first allocation failing, then with the second, and so on until it gets by
 * without a failure. Aborts when a failure comes out as something else than -ENOMEM, unless the
 * attempt could do without that allocation, and when blocks are left.
 */
static inline void failmalloc_try(failmalloc_fn *attempt, void *userdata)
{
    /* once without failing: libraries may set something up for good */
    attempt(userdata);
    for (unsigned long n = 1;; n++) {
        int r;

        failmalloc.countdown = n;
        failmalloc.has_failed = false;
        failmalloc.balance = 0;
        failmalloc.is_on = true;
        r = attempt(userdata);
        failmalloc.is_on = false;
        if (failmalloc.balance != 0 || (r != 0 && r != -ENOMEM) ||
            (r != 0 && !failmalloc.has_failed)) {
            fprintf(stderr, "allocation %lu fails: result %d (%s), %ld blocks left\n", n, r,
                    strerror(-r), failmalloc.balance);
            abort();
        }
        if (!failmalloc.has_failed)
            return;
    }
}

#endif
