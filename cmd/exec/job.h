/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A job: somebody's command as our child, and we as the parent that a shell or a supervisor takes
 * for the command: see job.c.
 *
 * Thread: the event loop's, which is to be the only thread that takes job_signals().
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cmd/exec/launch.h"

struct job;

struct job_callbacks {
    /* It ended; @exit_status is as a shell has it, 128 + N for a signal. It may be started again.
     */
    void (*ended)(void *userdata, int exit_status);
    /* A signal that asks to end: passed on to the command, if there is one. */
    void (*asked_to_end)(void *userdata, int signo);
};

/* All signals that a job passes on or has to have blocked, for daemon_run(). */
void job_signals(sigset_t *ret_signals);

/*
 * From here on signals are passed on.
 * @launch, @argv, @callbacks: outlive the job
 * Return: 0, *ret_job is the caller's; -errno with @e.
 */
int job_new(sd_event *event, const struct launch *launch, char *const argv[],
            const struct job_callbacks *callbacks, void *userdata, struct job **ret_job,
            struct error *e);
/* A command that still runs is left to itself. Return: NULL. */
struct job *job_free(struct job *job);
DEFINE_CLEANUP(struct job *, job_free)

/* There must be no command. @envp: not used after this. Return: as launch_spawn(). */
int job_start(struct job *job, char *const envp[], struct error *e);

/* SIGTERM to all processes of the job, and SIGKILL after @grace if the command has not ended. */
void job_stop(struct job *job, span_us grace);

/* Send a signal to the command alone. */
void job_signal(struct job *job, int signo);
