/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   parent                        child
 *   1. fork                       2. mounts; messages go to the terminal
 *   3. waits for a byte           4. setsid, releases the terminal, sends the byte: readable
 *   5. exits with that status     6. serves
 *
 * A child that dies before step 4 closes the pipe: the parent then takes the child's own exit
 * status. A parent that is killed before step 5 closes it, too: the child ends without a mount,
 * since the caller takes the command for failed.
 */
#include "cmd/mount/background.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/log.h"

/* Return: the status that the child reports, or exits with; EXIT_FAILURE if it dies of a signal. */
static int wait_for_report(int fd, pid_t child)
{
    unsigned char exit_status;
    int wait_status;
    ssize_t n;

    do
        n = read(fd, &exit_status, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return exit_status;
    if (waitpid(child, &wait_status, 0) == child && WIFEXITED(wait_status) &&
        WEXITSTATUS(wait_status) != 0)
        return WEXITSTATUS(wait_status);
    return EXIT_FAILURE;
}

int background_enter(struct background *background, struct error *e)
{
    int fds[2];
    pid_t pid;

    assert(background->report_fd < 0);

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(e, negative_errno(), "cannot fork into the background");
    pid = fork();
    if (pid < 0) {
        int r = negative_errno();

        fd_close(fds[0]);
        fd_close(fds[1]);
        return error_set_errno(e, r, "cannot fork into the background");
    }
    if (pid > 0) {
        fd_close(fds[1]);
        _exit(wait_for_report(fds[0], pid));
    }
    fd_close(fds[0]);
    background->report_fd = fds[1];
    return 0;
}

static bool is_regular_file(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* A reader of a terminal or a pipe would wait for us to close it; a log file stays open. */
static void release_terminal(void)
{
    _cleanup_(fd_closep) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0)
        return;
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    if (is_regular_file(STDERR_FILENO))
        return;
    dup2(null_fd, STDERR_FILENO);
    log_set_target(LOG_TARGET_SYSTEM);
}

/* Return: 0; -errno of write(2). */
static int report(struct background *background, int status)
{
    unsigned char byte = (unsigned char)status;
    int r = 0;

    if (background->report_fd < 0)
        return 0;
    if (write(background->report_fd, &byte, 1) < 0)
        r = negative_errno();
    background->report_fd = fd_close(background->report_fd);
    return r;
}

int background_ready(struct background *background)
{
    if (background->report_fd < 0)
        return 0;
    if (chdir("/") < 0)
        log_debug("cannot change to /");
    /*
     * Not earlier: until the mount is there, autofs lets only systemd's own process group pass to
     * the mount point, and Ctrl-C at the terminal has to end both parent and child.
     */
    setsid();
    release_terminal();
    return report(background, EXIT_SUCCESS);
}

void background_failed(struct background *background, int status)
{
    if (report(background, status) < 0)
        log_debug("the parent of the background process has ended");
}
