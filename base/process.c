/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* Return: 0; a positive errno. */
static int add_file(posix_spawn_file_actions_t *actions, int fd, int as)
{
    if (fd == as)
        return 0;
    return fd < 0 ? posix_spawn_file_actions_addopen(actions, as, "/dev/null", O_RDWR, 0)
                  : posix_spawn_file_actions_adddup2(actions, fd, as);
}

/* Return: 0; a positive errno. */
static int set_attributes(posix_spawnattr_t *attr)
{
    const short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
    sigset_t none, all;
    int r = posix_spawnattr_setflags(attr, flags);

    sigemptyset(&none);
    sigfillset(&all);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    return r == 0 ? posix_spawnattr_setpgroup(attr, 0) : r;
}

int process_start(char *const argv[], char *const envp[], const struct process_files *files,
                  pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r;

    /* with glibc neither init can fail */
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    r = set_attributes(&attr);
    if (r == 0)
        r = add_file(&actions, files->input, STDIN_FILENO);
    if (r == 0)
        r = add_file(&actions, files->output, STDOUT_FILENO);
    if (r == 0)
        r = add_file(&actions, files->errors, STDERR_FILENO);
    if (r == 0) /* our descriptors are close-on-exec, but a library's may not be */
        r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (r == 0)
        r = posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -r;
}

/* @output, @errors: where the program writes; -1: where we do. Return: 0; -errno. */
static int spawn(const char *const argv[], int output, int errors, pid_t *ret_pid)
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
    if (r == 0 && errors >= 0)
        r = posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    if (r == 0) /* such as the end of a pipe that says whether this process lives */
        r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
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
    int r = spawn(argv, -1, -1, &pid);

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
    r = spawn(argv, output, -1, &pid);
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

/* ---- both outputs */

/* Append what can be read now. Return: 1; 0 at the end; -EFBIG, -ENOMEM, read(2)'s errors. */
static int read_part(int fd, struct buf *text)
{
    char part[4096];
    ssize_t len = read(fd, part, sizeof(part));
    int r;

    if (len < 0)
        return errno == EINTR ? 1 : negative_errno();
    r = buf_add(text, part, (size_t)len);
    return r < 0 ? r : len > 0;
}

static int read_both(const int fds[static 2], struct buf *const texts[static 2])
{
    struct pollfd polled[] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};

    while (polled[0].fd >= 0 || polled[1].fd >= 0) {
        if (poll(polled, ELEMENTS_OF(polled), -1) < 0 && errno != EINTR)
            return negative_errno();
        for (size_t i = 0; i < ELEMENTS_OF(polled); i++) {
            int r = polled[i].fd >= 0 && polled[i].revents != 0 ? read_part(fds[i], texts[i]) : 1;

            if (r < 0)
                return r;
            if (r == 0)
                polled[i].fd = -1; /* poll(2) leaves it out */
        }
    }
    return 0;
}

int process_read(const char *const argv[], struct buf *output, struct buf *errors)
{
    struct buf *const texts[] = {output, errors};
    int fds[2] = {-1, -1}, written[2] = {-1, -1};
    pid_t pid = -1;
    int r = 0, status;

    for (size_t i = 0; i < ELEMENTS_OF(texts) && r == 0; i++) {
        int both[2];

        r = pipe2(both, O_CLOEXEC) < 0 ? negative_errno() : 0;
        fds[i] = r == 0 ? both[0] : -1;
        written[i] = r == 0 ? both[1] : -1;
    }
    if (r == 0)
        r = spawn(argv, written[0], written[1], &pid);
    fd_closep(&written[0]);
    fd_closep(&written[1]);
    if (r == 0)
        r = read_both(fds, texts);
    fd_closep(&fds[0]);
    fd_closep(&fds[1]);
    status = pid > 0 ? wait_for(pid) : 0;
    return r < 0 ? r : status;
}
