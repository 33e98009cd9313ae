/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the process and each of its threads can still do once it has started: capabilities, system
 * calls, and no new privileges. docs/security.md lists them by thread and mode.
 */
#include "base/error.h"

enum confinement_role {
    /* The event loop: no capabilities, and no system call that mounts. */
    CONFINEMENT_LOOP,
    /* It runs a credential plug-in, which inherits what is left: as the loop. A plug-in of an
     * ordinary user has no capabilities, and may be set-user-ID. */
    CONFINEMENT_PLUGIN,
    /* It mounts for the loop, and starts publishers: the process's capabilities, no execve(2), no
     * connections. As an ordinary user it runs the set-user-ID fusermount3, and is not restricted.
     */
    CONFINEMENT_PRIVILEGED,
    /* It changes the tree and mounts volumes on targets: the same, and no thread. */
    CONFINEMENT_PUBLISHER,
    /* It signals processes of all users: CAP_KILL alone, else as a worker. */
    CONFINEMENT_SIGNALLER,
    /* It starts and ends commands of the administrator as other users: CAP_SETUID, CAP_SETGID and
     * CAP_KILL alone, else as the loop. */
    CONFINEMENT_RUNNER,
    /* It ends such a command when the runner has ended: CAP_KILL alone, and it starts nothing. */
    CONFINEMENT_GUARD,
    /* Such a command: no capabilities, and it cannot leave its process group, by which it is ended;
     * else as the loop. */
    CONFINEMENT_COMMAND,
    /* The same that checks content: it has no sockets either. */
    CONFINEMENT_CHECK,
    /* It parses what other processes write: no capabilities, and no system call that mounts, runs a
     * program, connects, or changes a name, an owner or a mode. */
    CONFINEMENT_WORKER,
};

/* What the program is for; bits. */
enum confinement_program {
    CONFINEMENT_MOUNT = 0,
    CONFINEMENT_NODE = 1 << 0,     /* it signals processes, too */
    CONFINEMENT_COMMANDS = 1 << 1, /* it has a thread with CONFINEMENT_RUNNER */
};

/*
 * Restrict this thread, which must be the only one, and each thread and program that it starts. It
 * keeps the capabilities that @program needs: bits of enum confinement_program. Nothing can be
 * undone. An ordinary user's process stays as it is, since the set-user-ID fusermount3 mounts and
 * unmounts for it; its threads are restricted one by one. Thread: the main thread, before any other
 * starts, after the limits of memory are raised. Return: 0; -errno with @e, when less than all of
 * it could be applied.
 */
int confinement_restrict_process(unsigned program, struct error *e);

/*
 * Whether this process may run commands as other users, or as its own ordinary one.
 * Thread: any. Return: 0; -EPERM with @e.
 */
int confinement_check_commands(struct error *e);

/*
 * Restrict the calling thread further, whether or not the process is restricted; the threads that
 * it starts inherit it. What could not be applied is logged as a debug message.
 */
void confinement_restrict_thread(enum confinement_role role);
