/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int error_set(struct error *e, int code, const char *format, ...)
{
    va_list args;

    if (e == NULL)
        return code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    return code;
}

/* Append ": " and @text. */
static void error_append(struct error *e, const char *text)
{
    size_t used = strlen(e->text);

    snprintf(e->text + used, sizeof(e->text) - used, ": %s", text);
}

int error_set_errno(struct error *e, int code, const char *format, ...)
{
    char words[128];
    va_list args;

    if (e == NULL)
        return code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    error_append(e, strerror_r(code < 0 ? -code : code, words, sizeof(words)));
    return code;
}

int error_prefix(struct error *e, int code, const char *format, ...)
{
    char rest[ERROR_TEXT_MAX];
    va_list args;

    if (e == NULL)
        return code;
    memcpy(rest, e->text, sizeof(rest));
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    error_append(e, rest);
    return code;
}

static char text_is_lost[] = "out of memory: the reason is lost";

void kept_error_clear(struct kept_error *kept)
{
    if (kept->owned != text_is_lost)
        free(kept->owned);
    kept->owned = NULL;
}

void kept_error_set(struct kept_error *kept, const char *text)
{
    char *copy;

    if (streq(kept_error_text(kept), text))
        return;
    kept_error_clear(kept);
    if (text[0] == '\0')
        return;
    copy = strdup(text);
    kept->owned = copy != NULL ? copy : text_is_lost;
}
