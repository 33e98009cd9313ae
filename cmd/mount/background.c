/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount in the background is the child of a keeper, so that it outlives its process. The command
 * becomes the keeper, which forks, starts the same command line as its child, and lets the caller
 * return when the child is ready (keeper/background.c). The child learns from SECRETFS_BACKGROUND
 * that it is one.
 */
#include "cmd/mount/background.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/standard_streams.h"
#include "cmd/shared/keeper_program.h"

#define VARIABLE "SECRETFS_BACKGROUND" /* keeper/background.h, of another program */

enum background background_of_environment(void)
{
    const char *value = getenv(VARIABLE);
    enum background background = BACKGROUND_NONE;

    if (value != NULL)
        background = streq(value, "starting") ? BACKGROUND_STARTING : BACKGROUND_RUNNING;
    unsetenv(VARIABLE);
    return background;
}

int background_run(char *const *command, struct error *e)
{
    static char background[] = "--background", check[] = "--check", end[] = "--";
    char *const options[] = {NULL, background, check, end};
    _cleanup_(freep) char **argv = NULL;
    size_t n = 0;

    while (command[n] != NULL)
        n++;
    argv = calloc(ELEMENTS_OF(options) + n + 1, sizeof(*argv));
    if (argv == NULL)
        return error_set_errno(e, -ENOMEM, "cannot run in the background");
    memcpy(argv, options, sizeof(options));
    memcpy(argv + ELEMENTS_OF(options), command, n * sizeof(*argv));
    return keeper_program_exec(argv, e);
}

enum log_target background_log_target(enum background background)
{
    if (background == BACKGROUND_RUNNING && !standard_streams_have_log_file())
        return LOG_TARGET_SYSTEM;
    return log_target_of_stderr();
}

bool background_report(enum background background, const char *text)
{
    if (background != BACKGROUND_RUNNING)
        return false;
    log_set_target(background_log_target(background));
    log_error(text);
    return true;
}

/*
 * Not earlier: until the mount is there, autofs lets only systemd's own process group pass to the
 * mount point, and Ctrl-C at the terminal has to end this process.
 */
static void leave_terminal(void)
{
    setsid();
    log_set_target(background_log_target(BACKGROUND_RUNNING));
    standard_streams_release();
}

void background_ready(enum background background)
{
    if (background != BACKGROUND_NONE && chdir("/") < 0)
        log_debug("cannot change to /");
    if (background == BACKGROUND_STARTING)
        leave_terminal();
}
