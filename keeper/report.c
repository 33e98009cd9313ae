/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/report.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_SIZE 1024

/*
 * A line that the reader of the log does not take is lost: the keeper must not wait for it. A pipe
 * that is ready for writing takes PIPE_BUF bytes.
 */
static void write_line(const char *line, size_t len)
{
    struct pollfd polled = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&polled, 1, 0) > 0 && (polled.revents & POLLOUT) != 0)
        (void)!write(STDERR_FILENO, line, len);
}

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
    write_line(line, len);
}
