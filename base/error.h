/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A failure that a person will read.
 *
 * Functions whose failure a person reads (command line, configuration, an API's response) take a
 * `struct error *` beside their -errno. The innermost function writes what failed and what to do;
 * its callers put their context in front. The text has a fixed size, so that reporting a failure
 * cannot fail. It never holds secret bytes.
 *
 * Thread: any; an error is one thread's at a time.
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
 * @e:    NULL if the caller needs no text
 * @code: the -errno of the failure
 * Return: @code, so that a caller can `return error_set(e, -EINVAL, ...)`.
 */
int error_set(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* As error_set(), with ": " and strerror(3) of @code at the end. */
int error_set_errno(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Put context and ": " in front of the text. Return: @code. */
int error_prefix(struct error *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/*
 * The text of a failure that an object keeps, as long as it is. A node has thousands of such
 * objects, most of them without a failure: those cost a pointer. Zeroed it is empty.
 */
struct kept_error {
    char *owned; /* NULL: empty */
};

/* Keep a copy of @text instead of the last one. Without memory a text about that is kept. */
void kept_error_set(struct kept_error *kept, const char *text);
void kept_error_clear(struct kept_error *kept);

/* Return: the text, borrowed until the next change; "" if there is none. */
static inline const char *kept_error_text(const struct kept_error *kept)
{
    return kept->owned != NULL ? kept->owned : "";
}
