/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Running in the background: the child does the work from its start; the parent waits for the
 * child's report and exits with its status, so that the command returns when the mount is readable.
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
 * Fork. Returns in the child only; the parent waits for the report and exits with its status. The
 * child keeps the terminal for its messages until background_ready().
 * Must precede the first thread. Return: 0; -errno with @e, in the parent, when fork failed.
 */
int background_enter(struct background *background, struct error *e);

/*
 * Detach from the terminal, and let the parent exit with status 0. Does nothing in the foreground.
 * Return: 0; -EPIPE if the parent has ended without the report, so that its caller takes the mount
 * for failed.
 */
int background_ready(struct background *background);

/* Let the parent exit with @status. Does nothing in the foreground or after background_ready(). */
void background_failed(struct background *background, int status);
