/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* cmocka 2.0 deprecates its own assertion of a range, and cmocka 1.1 does not have what replaces
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline void assert_between_at(intmax_t value, intmax_t least, intmax_t most,
                                     const char *words, const char *file, int line)
{
    if (value >= least && value <= most)
        return;
    print_error("%s is %jd, expected %jd to %jd\n", words, value, least, most);
    _fail(file, line);
}

#define assert_between(value, least, most)                                                         \
    assert_between_at((intmax_t)(value), (intmax_t)(least), (intmax_t)(most), #value, __FILE__,    \
                      __LINE__)
