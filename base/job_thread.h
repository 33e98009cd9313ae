/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Does jobs of one kind on a thread of its own, one after the other, or on a few of them, for the
 * event loop, which must not wait for them. See job_thread.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/confinement.h"
#include "base/list.h"
#include "base/util.h"

struct job_thread;

/* Embedded in the job. */
struct job {
    struct list link;
    bool is_running; /* a thread works on it */
};

#define JOB_THREADS_MAX 4

struct job_kind {
    const char *name;   /* of the threads */
    unsigned n_threads; /* 0: one; at most JOB_THREADS_MAX */
    enum confinement_role confinement;
    bool is_privileged;           /* it gets the capabilities of the privileged thread */
    void (*run)(struct job *job); /* on the thread */
    void (*done)(void *userdata, struct job *job_consumed); /* on the loop */
    void (*free)(struct job *job_consumed); /* on the loop, of one that is done at the end */
};

/*
 * The threads start with the first job, unless job_thread_start() started them.
 * @kind: borrowed, a constant
 * Return: 0, *ret_thread is the caller's; -errno.
 */
int job_thread_new(sd_event *event, const struct job_kind *kind, void *userdata,
                   struct job_thread **ret_thread);
/*
 * Start the threads with the capabilities of the caller, which may give them up afterwards.
 * Return: 0; -errno, and some of them may run.
 */
int job_thread_start(struct job_thread *thread) MUST_CHECK;
/* Wait until all jobs have run, and call done() for them. No job may be added any more. */
void job_thread_finish(struct job_thread *thread);
/* Waits until all jobs have run; done() is not called any more. NULL is fine. Return: NULL. */
struct job_thread *job_thread_free(struct job_thread *thread);
DEFINE_CLEANUP(struct job_thread *, job_thread_free)

/*
 * Add a job; done() is called once, not from within this call.
 * Return: 0, the job is the thread's; -errno: it cannot start, and the job is the caller's.
 */
int job_thread_add(struct job_thread *thread, struct job *job) MUST_CHECK;

/*
 * Take a job back.
 * Return: true: it is the caller's; false: a thread works on it, and done() follows.
 */
bool job_thread_take_back(struct job_thread *thread, struct job *job) MUST_CHECK;
