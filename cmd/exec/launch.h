/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Starting somebody's command, with everything that it inherits as we found it ourselves: signal
 * mask and dispositions, limits, descriptors. Only its environment is another one.
 */
#include <signal.h>
#include <sys/types.h>

#include "cache/secmem.h"

struct launch {
    sigset_t mask;
    struct sigaction on_sigpipe;
    struct secmem_inherited limits;
    int *descriptors; /* owned; sorted */
    size_t n_descriptors;
};

/*
 * Keep what is there; must precede everything that changes it.
 * Return: 0; -errno with @e. Either way launch_deinit() is due.
 */
int launch_init(struct launch *launch, struct error *e);
void launch_deinit(struct launch *launch);

/*
 * Let the command take this process's place. It is looked for along the PATH of @envp.
 * Return: only on failure: -ENOENT when there is no such command, other -errno when it cannot be
 * run; with @e.
 */
int launch_replace(const struct launch *launch, char *const argv[], char *const envp[],
                   struct error *e);

/*
 * Start the command as a child, as the leader of a process group of its own.
 * @tty_fd: the terminal whose foreground that group becomes before the command runs, or -1
 * Return: 0, *ret_pid is to be waited for; as launch_replace().
 */
int launch_spawn(const struct launch *launch, char *const argv[], char *const envp[], int tty_fd,
                 pid_t *ret_pid, struct error *e);

/* What a shell would exit with for a failure of the two: 127 or 126. */
int launch_exit_status(int result);
