/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* @output: the program's standard output; -1: ours. Return: 0; -errno. */
static int spawn(const char *const argv[], int output, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int r = posix_spawn_file_actions_init(&actions);

    assert(argv[0] != NULL);
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    if (r == 0 && output >= 0)
        r = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    /* the prototype lacks const for historical reasons; argv is not written to */
    if (r == 0)
        r = posix_spawnp(ret_pid, argv[0], &actions, &attr, (char *const *)(uintptr_t)argv,
                         environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -r;
}

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return negative_errno();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

int process_run(const char *const argv[])
{
    pid_t pid = -1;
    int r = spawn(argv, -1, &pid);

    return r < 0 ? r : wait_for(pid);
}

static int read_lines(FILE *stream, process_line_fn *on_line, void *userdata)
{
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int r = 0;

    while (r == 0 && (len = getline(&line, &size, stream)) > 0) {
        if (line[len - 1] == '\n')
            line[--len] = '\0';
        r = on_line(userdata, line, (size_t)len);
    }
    return r == 0 && !feof(stream) ? negative_errno() : r;
}

int process_read_lines(const char *const argv[], process_line_fn *on_line, void *userdata)
{
    _cleanup_(fd_closep) int output = -1, input = -1;
    FILE *stream;
    pid_t pid = -1;
    int fds[2], r, status;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return negative_errno();
    input = fds[0];
    output = fds[1];
    stream = fdopen(input, "r");
    if (stream == NULL)
        return negative_errno();
    (void)TAKE_FD(input);
    r = spawn(argv, output, &pid);
    fd_close(TAKE_FD(output));
    if (r < 0) {
        fclose(stream);
        return r;
    }
    r = read_lines(stream, on_line, userdata);
    fclose(stream);
    status = wait_for(pid);
    return r < 0 ? r : status;
}
