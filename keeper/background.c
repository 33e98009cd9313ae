/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   caller               keeper                    command
 *   1. forks             2. starts the command     3. starts; its messages go to the terminal
 *   4. waits for a byte                            5. leaves the terminal, sends READY=1
 *                        6. leaves the terminal,
 *                           sends the byte
 *   7. exits with 0      8. keeps                  9. serves
 *
 * A keeper that ends before step 6 closes the pipe: the caller exits with its status, which is the
 * command's. A caller that is killed before step 7 closes it, too: the keeper ends the command,
 * since the caller counts as failed.
 *
 * The keeper leaves the caller's process group in step 6 and not earlier: Ctrl-C at the terminal
 * has to end all three, and autofs lets only systemd's own process group pass to a mount point
 * until something is mounted there.
 */
#include "keeper/background.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/standard_streams.h"
#include "keeper/report.h"

/* Return: the status that the keeper reports, or exits with; EXIT_FAILURE if a signal ends it. */
static int wait_for_report(int fd, pid_t keeper)
{
    unsigned char status;
    int wait_status;
    ssize_t n;

    do
        n = read(fd, &status, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return status;
    if (waitpid(keeper, &wait_status, 0) == keeper && WIFEXITED(wait_status) &&
        WEXITSTATUS(wait_status) != 0)
        return WEXITSTATUS(wait_status);
    return EXIT_FAILURE;
}

int keeper_background_enter(struct error *e)
{
    int ends[2], r;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(e, negative_errno(), "cannot fork into the background");
    pid = fork();
    r = pid < 0 ? negative_errno() : 0;
    if (pid > 0) {
        fd_close(ends[1]);
        _exit(wait_for_report(ends[0], pid));
    }
    fd_close(ends[0]);
    if (r == 0)
        return ends[1];
    fd_close(ends[1]);
    return error_set_errno(e, r, "cannot fork into the background");
}

void keeper_background_ready(int *report_fd)
{
    const unsigned char status = EXIT_SUCCESS;

    if (*report_fd < 0)
        return;
    if (chdir("/") < 0)
        keeper_warn("cannot change to /: %s", strerror(errno));
    setsid();
    standard_streams_release();
    keeper_report_set(KEEPER_REPORT_SYSTEM);
    (void)!write(*report_fd, &status, 1);
    *report_fd = fd_close(*report_fd);
}
