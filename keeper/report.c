/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_SIZE 1024

/* One write(2) for a line. An error of it has no other place to go. */
void keeper_report(const char *level, const char *format, ...)
{
    char line[LINE_SIZE], time[CLOCK_RFC3339_SIZE];
    size_t len = (size_t)snprintf(line, sizeof(line),
                                  "%s %s keeper: ", clock_rfc3339(clock_wall(), time), level);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + len, sizeof(line) - len, format, arguments);
    va_end(arguments);
    len = strnlen(line, sizeof(line) - 1);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return;
}
