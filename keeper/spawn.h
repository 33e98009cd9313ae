/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Starting a process that takes what is stored. */
#include <signal.h>

#include "keeper/store.h"

struct keeper_spawn {
    char *const *argv;
    const struct keeper_store *store;
    const char *notify_socket; /* NULL: the process can notify nothing and store nothing */
    span_us watchdog;          /* 0: none */
    const char *directory;     /* working directory; "": the keeper's */
    const char *background;    /* KEEPER_BACKGROUND_*; NULL: in the foreground */
    int errors_fd;             /* its standard error; 0: the keeper's */
    const sigset_t *mask;      /* of signals, as the keeper found it */
};

struct keeper_process {
    pid_t pid;
    /* poll(2) reports POLLHUP when the process, and each that has its descriptors, closed its end
     */
    int end_fd;
};

/* Return: 0; -errno of fork(2) or pipe(2). A program that cannot be run exits with 126 or 127. */
int keeper_spawn(const struct keeper_spawn *spawn, struct keeper_process *ret_process);
