/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/buf.h"

/* A started program's; -1: /dev/null. */
struct process_files {
    int input, output, errors;
};

/*
 * Start a program found on PATH that is not trusted: it inherits no other descriptor, no signal
 * mask and no signal handler, and has a process group of its own, so that kill(2) of -pid ends its
 * children, too. posix_spawn(3) shares our memory with it until it calls execve(2), so it never has
 * a copy of a secret. It has the user, the capabilities and the filter of the calling thread.
 * @argv, @envp: NULL-terminated
 * Thread: any. Return: 0, *ret_pid has to be waited for; -errno.
 */
int process_start(char *const argv[], char *const envp[], const struct process_files *files,
                  pid_t *ret_pid);

/*
 * Run a program found on PATH with nothing blocked and no descriptor but the standard streams, and
 * wait for it.
 * @argv: NULL-terminated
 * Return: its exit status; -EINTR if a signal ended it; -errno when it could not be started.
 */
int process_run(const char *const argv[]);

/* @line: without its line break, borrowed. Return: 0 to continue; -errno, which ends the reading.
 */
typedef int process_line_fn(void *userdata, const char *line, size_t len);

/*
 * Run a program as process_run() does, and pass on each line of its standard output.
 * Return: as process_run(), once the program has ended; else -ENOMEM, -errno of reading, or what
 * @on_line returned.
 */
int process_read_lines(const char *const argv[], process_line_fn *on_line, void *userdata);

/*
 * Run a program as process_run() does, and append what it writes.
 * @output, @errors: of its standard output and standard error
 * Return: as process_run(), once the program has ended; -EFBIG beyond the limit of a buffer, which
 * ends the program by SIGPIPE when it writes more; -ENOMEM; -errno of reading.
 */
int process_read(const char *const argv[], struct buf *output, struct buf *errors);
