/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Starting the command. It inherits what we inherited: signal mask and dispositions, limits and
 * descriptors. Only its environment differs.
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
 * Save what this process inherited; must precede everything that changes it.
 * Return: 0; -errno with @e. Either way launch_deinit() is due.
 */
int launch_init(struct launch *launch, struct error *e);
void launch_deinit(struct launch *launch);

/*
 * Replace this process by the command, found on the PATH of @envp.
 * Return: on failure only: -ENOENT when the command does not exist, other -errno when it cannot be
 * executed; with @e.
 */
int launch_replace(const struct launch *launch, char *const argv[], char *const envp[],
                   struct error *e);

/*
 * Start the command as a child, as the leader of a process group of its own.
 * @tty_fd: the terminal whose foreground that group becomes before the command runs, or -1
 * Return: 0, the caller has to wait for *ret_pid; as launch_replace().
 */
int launch_spawn(const struct launch *launch, char *const argv[], char *const envp[], int tty_fd,
                 pid_t *ret_pid, struct error *e);

/* Return: a shell's exit status for a failure of these two: 127 or 126. */
int launch_exit_status(int result);
