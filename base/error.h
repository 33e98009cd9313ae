/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An outcome that a person will read.
 *
 * Functions whose failure ends up in front of somebody (command line, configuration, an API's
 * answer) take a `struct error *` beside their -errno. The innermost function writes what went
 * wrong and what to do about it; the ones above put their context in front. The text is fixed in
 * size so that reporting a failure can not fail. It never holds secret bytes.
 */
#include "base/util.h"

#define ERROR_TEXT_MAX 512 /* a sentence or two with a path in it; longer texts are cut */

struct error {
    char text[ERROR_TEXT_MAX];
};

#define ERROR_INIT                                                                                 \
    (struct error)                                                                                 \
    {                                                                                              \
        .text = ""                                                                                 \
    }

/*
 * Write the text of a failure.
 * @e:    where to; NULL if the caller does not want to know
 * @code: the -errno of the failure
 * Return: @code, so that a caller can `return error_set(e, -EINVAL, ...)`.
 */
int error_set(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* As error_set(), with ": " and the system's words for @code at the end. */
int error_set_errno(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Put context and ": " in front of the text. Return: @code. */
int error_prefix(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);
