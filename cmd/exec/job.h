/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A job: a command as our child. A shell or a supervisor can treat us as if we were the command:
 * see job.c.
 *
 * Thread: the event loop's; no other thread may handle job_signals().
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cmd/exec/launch.h"

struct job;

struct job_callbacks {
    /* The command exited; @exit_status is a shell's, 128 + N for a signal. It can be restarted. */
    void (*ended)(void *userdata, int exit_status);
    /* We received SIGTERM, SIGINT, SIGHUP or SIGQUIT; a running command was sent it as well. */
    void (*terminate)(void *userdata, int signo);
};

/* The signals that a job forwards or needs blocked, for daemon_run(). */
void job_signals(sigset_t *ret_signals);

/*
 * From here on signals are forwarded to the command.
 * @launch, @argv, @callbacks: outlive the job
 * Return: 0, *ret_job is the caller's; -errno with @e.
 */
int job_new(sd_event *event, const struct launch *launch, char *const argv[],
            const struct job_callbacks *callbacks, void *userdata, struct job **ret_job,
            struct error *e);
/* Leaves a running command alone. Return: NULL. */
struct job *job_free(struct job *job);
DEFINE_CLEANUP(struct job *, job_free)

/* Start the command; it must not be running. @envp: not kept. Return: as launch_spawn(). */
int job_start(struct job *job, char *const envp[], struct error *e);

/* SIGTERM to all processes of the job, and SIGKILL after @grace unless the command has exited. */
void job_stop(struct job *job, span_us grace);

/* Send a signal to the command alone. */
void job_signal(struct job *job, int signo);
