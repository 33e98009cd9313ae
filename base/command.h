/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs a command of the administrator with as few rights as it needs, and waits for it. See
 * command.c.
 */
#include <sys/types.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/error.h"

#define COMMAND_NAME_MAX 63
/* Of a first line that a person reads in an Event or a log. */
#define COMMAND_LINE_MAX 160

/* Each check is a user of its own, a random number that systemd and kubelet leave unused; what runs
 * after an update, without content, is user 65534. */
#define COMMAND_OWN_USER ((uid_t)-1)

/* What the configuration says of it. */
struct command {
    const char *name;
    char *const *argv; /* an absolute path, and arguments; NULL-terminated */
    uid_t uid;         /* whom it runs as, if this process is root's; or COMMAND_OWN_USER */
    gid_t gid;
    span_us timeout;
};

/* Whether @name is one: lower-case letters, digits and dashes; neither a path nor an option. */
bool command_name_is_valid(const char *name);

/* One run. */
struct command_run {
    const struct command *command;
    bool is_check;     /* it has no sockets */
    char *const *envp; /* all of its environment, NULL-terminated */
    int stop_fd;       /* an eventfd; readable: end it */
    /* The next piece of its standard input, which stays valid until the next call; NULL: none.
     * Return: false: there is no more. */
    bool (*next_input)(void *userdata, struct iovec *ret_piece);
    void *userdata;
};

/*
 * Run it until it ends, and end what it leaves in its process group.
 * Thread: any but the event loop's, with CONFINEMENT_RUNNER.
 * Return: 0: its exit status is 0; else with the end of a sentence in @e, which has the command as
 * its subject: -EINVAL: another exit status, with the first line of standard error; -ETIMEDOUT;
 * -ECANCELED: by stop_fd; -EFBIG: too much output; -EINTR: a signal ended it; -ENOEXEC: its program
 * is missing, or cannot be executed; other -errno: it could not be started, either.
 */
int command_run(const struct command_run *run, struct error *e);
/* Whether that says nothing of what it was to do: it did not run. */
bool command_did_not_run(int result);

/* The first argument of this program when it is to start a command; see command_become(). */
#define COMMAND_BECOME "__command"
/*
 * Start a process that gives up rights and becomes the command, and end as it does, or with the
 * thread that has started this process.
 * @argv: after COMMAND_BECOME, made by command_run()
 * Thread: the main one, the only one. Return: an exit status, when that failed, which command_run()
 * gets to know why by standard output.
 */
int command_become(int argc, char *argv[]);
