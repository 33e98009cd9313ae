/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/report.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define LINE_SIZE 1024

static enum keeper_report_target current_target;

static const struct {
    const char *name;
    int priority;
} levels[] = {
    [KEEPER_ERROR] = {"ERROR", LOG_ERR},
    [KEEPER_WARN] = {"WARN", LOG_WARNING},
    [KEEPER_INFO] = {"INFO", LOG_INFO},
};

void keeper_report_set(enum keeper_report_target target)
{
    current_target = target;
}

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

/* syslog(3) waits for the reader of the log. A new socket each time: that reader may restart. */
static void send_line(const char *line, size_t len)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0)
        (void)!sendto(fd, line, len, MSG_NOSIGNAL, (const struct sockaddr *)&address,
                      sizeof(address));
}

static size_t format_prefix(char line[static LINE_SIZE], enum keeper_level level)
{
    char time[CLOCK_RFC3339_SIZE];
    int len;

    if (current_target == KEEPER_REPORT_SYSTEM)
        len = snprintf(line, LINE_SIZE,
                       "<%d>secretfs-keeper[%d]: ", LOG_DAEMON | levels[level].priority,
                       (int)getpid());
    else
        len = snprintf(line, LINE_SIZE, "%s %s keeper: ", clock_rfc3339(clock_wall(), time),
                       levels[level].name);
    return (size_t)len;
}

void keeper_report(enum keeper_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;
    size_t len;

    if (current_target == KEEPER_REPORT_TERMINAL && level == KEEPER_INFO)
        return;
    len = format_prefix(line, level);
    va_start(arguments, format);
    vsnprintf(line + len, sizeof(line) - len, format, arguments);
    va_end(arguments);
    len = strnlen(line, sizeof(line) - 1);
    if (current_target == KEEPER_REPORT_SYSTEM) {
        send_line(line, len);
        return;
    }
    line[len++] = '\n';
    write_line(line, len);
}
