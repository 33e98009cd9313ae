/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The life of a command that runs on an event loop: the loop, signals, the watchdog, the service
 * manager, and the order in which they begin and end. See daemon.c.
 *
 * A command embeds a struct daemon in its own and finds its own by CONTAINER_OF().
 *
 * Thread: the event loop's.
 */
#include <signal.h>

#include <systemd/sd-event.h>

#include "base/confinement.h"
#include "serve/commands.h"
#include "serve/watchdog.h"

struct daemon;

struct daemon_ops {
    /* Create everything that lives on the loop. Return: 0; -errno with @e. stop() follows both. */
    int (*start)(struct daemon *daemon, struct error *e);
    /* SIGHUP: read the configuration again. NULL: SIGHUP ends the loop as SIGTERM does. */
    void (*reload)(struct daemon *daemon);
    /* Free what start() created, or as much of it as it could create. */
    void (*stop)(struct daemon *daemon);
};

/*
 * Another process of the service follows, so that mounts stay for it. A keeper sends it
 * (keeper/supervisor.c), and systemd with RestartKillSignal=.
 */
#define DAEMON_HAND_OVER_SIGNAL SIGUSR2

/* Members are read-only for the command. All zero bytes before daemon_run(). */
struct daemon {
    const struct daemon_ops *ops;
    sd_event *event;           /* from start() to stop() */
    struct watchdog *watchdog; /* the same; NULL for a command with signals of its own */
    bool must_hand_over;       /* the loop has ended by DAEMON_HAND_OVER_SIGNAL */
    struct error failure;
};

/*
 * Run the command until a signal, sd_event_exit() or daemon_fail() ends its loop. SIGPIPE is
 * ignored; SIGCHLD and the signals below are blocked in this thread and all that it starts. Must
 * precede the first thread.
 * @ops: outlives the call
 * @own_signals: blocked, for start() to handle them. The daemon then handles no signal and does not
 * notify the service manager: that is up to the program that this command runs. NULL: the daemon
 * handles SIGTERM, SIGINT, SIGHUP and DAEMON_HAND_OVER_SIGNAL.
 * Return: 0; -errno with @e: of start(), of daemon_fail(), or of the loop.
 */
int daemon_run(struct daemon *daemon, const struct daemon_ops *ops, const sigset_t *own_signals,
               struct error *e);

/*
 * Give up the rights that a daemon that mounts does not need, those of the event loop as well: see
 * base/confinement.h and base/privileged.h. A kernel or a
 * container that refuses a part of it is logged as a warning; the daemon works all the same.
 * @program: bits of enum confinement_program
 * @commands: its threads start with what they need; NULL: none
 * Thread: the event loop's, before any other starts: early in start().
 */
void daemon_restrict(unsigned program, struct commands *commands);

/* End the loop, so that daemon_run() fails with @reason. May be called during start(). */
void daemon_fail(struct daemon *daemon, const struct error *reason);
