/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Running in the background: the keeper runs the command line once more, as its child, and returns
 * when the child is ready. See background.c.
 */
#include "base/log.h"

enum background {
    BACKGROUND_NONE,
    BACKGROUND_STARTING, /* the caller waits at its terminal until the mount is readable */
    BACKGROUND_RUNNING,  /* without a terminal */
};

/*
 * Whether the keeper runs this process in the background. What says so is removed from the
 * environment.
 * Thread: main, before there are others.
 */
enum background background_of_environment(void);

/*
 * Become a keeper in the background that runs @command, and again whenever it fails.
 * @command: the whole command line, ended by NULL
 * Return: on failure only: -errno with @e.
 */
int background_run(char *const *command, struct error *e);

/*
 * The mount is readable: leave the terminal and the caller's directory, and log to the system. Does
 * nothing in the foreground.
 */
void background_ready(enum background background);

/* The system's log for a process in the background, unless its standard error is a file. */
enum log_target background_log_target(enum background background);

/* Log what ends the process. Return: false: there is a terminal, or a log, for standard error. */
bool background_report(enum background background, const char *text);
