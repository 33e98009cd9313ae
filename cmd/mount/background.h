/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Going to the background: the command returns to its user when the work has begun, or failed to.
 * The child does everything from the start; the parent waits to be told how it went.
 */
#include "base/error.h"

struct background {
    int report_fd; /* the child's end of the pipe; -1 in the foreground */
};

#define BACKGROUND_NONE                                                                            \
    (struct background)                                                                            \
    {                                                                                              \
        .report_fd = -1                                                                            \
    }

/*
 * Fork. Returns in the child only; the parent waits for the report and exits with its status. Until
 * it is ready, the child keeps the terminal for what it has to say.
 * Must precede the first thread. Return: 0; -errno with @e, in the parent, when fork failed.
 */
int background_enter(struct background *background, struct error *e);

/* The parent may go: exit status 0. From here on nobody waits and the terminal is let go of. */
void background_ready(struct background *background);

/* The parent is to exit with @status. In the foreground this does nothing. */
void background_failed(struct background *background, int status);
