/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Where the lines of the audit go: a file, the journal, or a process that listens on a socket. */
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* The journal's identifier of its lines: `journalctl -t secretfs-audit`. */
#define AUDIT_IDENTIFIER "secretfs-audit"

enum audit_target_kind { AUDIT_FILE, AUDIT_JOURNAL, AUDIT_SOCKET };

struct audit_target {
    enum audit_target_kind kind;
    const char *path; /* of the file or the socket; absolute */
};

/*
 * Parse "/PATH", "journal" or "unix:/PATH".
 * @ret_target: borrows @text
 * Return: 0; -EINVAL with @e.
 */
int audit_target_parse(const char *text, struct audit_target *ret_target, struct error *e);

/*
 * Open it. A file is created with mode 0600 and only appended to; it has to be a regular one of
 * this user without another name, and no symbolic link. A socket is one of SOCK_STREAM.
 * Return: 0, *ret_fd is the caller's and does not block where the kernel can avoid it; -errno.
 */
int audit_target_open(const struct audit_target *target, int *ret_fd);

/* Whether the file's name has gone to another file since it was opened, or to none. */
bool audit_target_is_moved(const struct audit_target *target, int fd);

/*
 * Write a line, or the rest of one.
 * Return: the number of bytes; -EAGAIN: not now; -errno.
 */
ssize_t audit_target_write(const struct audit_target *target, int fd, const char *line, size_t len);
