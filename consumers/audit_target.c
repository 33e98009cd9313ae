/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal gets a datagram for each line, as systemd's native protocol has it: fields of one
 * line each, "NAME=value". libsystemd is not used for that: it keeps one descriptor for the whole
 * process, and the thread that writes the audit has a table of its own.
 */
#include "consumers/audit_target.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"

int audit_target_parse(const char *text, struct audit_target *ret_target, struct error *e)
{
    const char *socket_path = str_after(text, "unix:");
    struct audit_target target = {.kind = AUDIT_FILE, .path = text};

    if (streq(text, "journal"))
        target = (struct audit_target){.kind = AUDIT_JOURNAL, .path = JOURNAL_PATH};
    else if (socket_path != NULL)
        target = (struct audit_target){.kind = AUDIT_SOCKET, .path = socket_path};
    if (target.path[0] != '/' || strlen(target.path) >= PATH_MAX)
        return error_set(e, -EINVAL,
                         "audit takes an absolute path of a file, \"journal\" or "
                         "\"unix:/PATH\", not \"%.256s\"",
                         text);
    if (target.kind == AUDIT_SOCKET &&
        strlen(target.path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return error_set(e, -EINVAL, "audit: the path %.200s is too long for a socket",
                         target.path);
    *ret_target = target;
    return 0;
}

/* ---- opening */

/* A process may have ended before it wrote the rest of a line. Return: 0; -errno. */
static int end_line(int fd, off_t size)
{
    char last = '\n';

    if (size > 0 && pread(fd, &last, 1, size - 1) < 0)
        return negative_errno();
    return last != '\n' && write(fd, "\n", 1) < 0 ? negative_errno() : 0;
}

static int open_file(const char *path, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = open(
        path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    struct stat status;
    int r;

    if (fd < 0 || fstat(fd, &status) < 0)
        return negative_errno();
    if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || status.st_nlink > 1)
        return -EPERM;
    r = end_line(fd, status.st_size);
    if (r == 0)
        *ret_fd = TAKE_FD(fd);
    return r;
}

static int open_socket(const char *path, int type, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (fd < 0)
        return negative_errno();
    memcpy(address.sun_path, path, strlen(path) + 1); /* audit_target_parse() checked the length */
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return negative_errno();
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int audit_target_open(const struct audit_target *target, int *ret_fd)
{
    switch (target->kind) {
    case AUDIT_FILE:
        return open_file(target->path, ret_fd);
    case AUDIT_JOURNAL:
        return open_socket(target->path, SOCK_DGRAM, ret_fd);
    case AUDIT_SOCKET:
        return open_socket(target->path, SOCK_STREAM, ret_fd);
    }
    return -EINVAL;
}

bool audit_target_is_moved(const struct audit_target *target, int fd)
{
    struct stat named, opened;

    if (target->kind != AUDIT_FILE || fstat(fd, &opened) < 0)
        return false;
    return lstat(target->path, &named) < 0
               ? errno == ENOENT
               : named.st_dev != opened.st_dev || named.st_ino != opened.st_ino;
}

/* ---- writing */

static ssize_t send_to_journal(int fd, const char *line, size_t len)
{
    static char head[] = "SYSLOG_IDENTIFIER=" AUDIT_IDENTIFIER "\nPRIORITY=6\nMESSAGE=";
    struct iovec parts[] = {
        {.iov_base = head, .iov_len = sizeof(head) - 1},
        {.iov_base = (void *)(uintptr_t)line, .iov_len = len},
    };
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = ELEMENTS_OF(parts)};

    return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? negative_errno() : (ssize_t)len;
}

ssize_t audit_target_write(const struct audit_target *target, int fd, const char *line, size_t len)
{
    ssize_t n = -1;

    switch (target->kind) {
    case AUDIT_FILE:
        n = write(fd, line, len);
        break;
    case AUDIT_JOURNAL:
        return send_to_journal(fd, line, len);
    case AUDIT_SOCKET:
        n = send(fd, line, len, MSG_NOSIGNAL);
        break;
    }
    return n < 0 ? negative_errno() : n;
}
