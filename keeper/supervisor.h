/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs a command as its service manager: keeps its descriptors, restarts it, watches it, forwards
 * signals to it. See keeper/state.h for its states and secretfs-keeper(8) for what it promises.
 */
#include "keeper/store.h"

struct keeper_options {
    char *const *command; /* ended by NULL */
    bool checks;          /* run COMMAND --check before a hand-over */
    size_t fds_max;       /* 1 to KEEPER_FDS_MAX */
    span_us watchdog;     /* 0: none, unless the child asks for one */
    span_us stop_timeout; /* then a child that does not end is killed */
    span_us backoff_max;
    bool is_background; /* leave the terminal when the command is ready; see background.h */
};

/* Return: the exit status for the keeper: the child's, or 128 and its signal; 1 with @e. */
int keeper_supervise(const struct keeper_options *options, struct error *e);
