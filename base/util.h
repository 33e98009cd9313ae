/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Macros and functions that all files need. */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef NDEBUG
#error "assertions stay on in every build"
#endif

#define ELEMENTS_OF(a)           (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, m) ((type *)(void *)((char *)(p)-offsetof(type, m)))
#define PRINTF_LIKE(fmt, first)  __attribute__((format(printf, fmt, first)))
#define MUST_CHECK               __attribute__((warn_unused_result))

/* -errno of the call that just failed; never 0, so that a caller cannot take it for success. */
static inline int negative_errno(void)
{
    int r = -errno;

    return r < 0 ? r : -EIO;
}

static inline bool streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Return: what follows prefix in s, or NULL if s does not begin with it. */
static inline const char *str_after(const char *s, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}
