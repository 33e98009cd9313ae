/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop and threads share two lists under one lock:
 *
 *   waiting --(thread: takes, runs)--> done --(loop: done())--> the owner's
 *
 * A job that a thread works on is in neither.
 */
#include "base/job_thread.h"

#include <sys/eventfd.h>

#include "base/lock.h"
#include "base/privileged.h"
#include "base/thread.h"

#define STACK_BYTES (256u << 10)

struct job_thread {
    const struct job_kind *kind;
    void *userdata;
    int done_fd; /* an eventfd, by which a thread wakes the loop */
    sd_event_source *done_source;
    size_t n_threads; /* that were started */
    pthread_t threads[JOB_THREADS_MAX];
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct list waiting, done;
    bool is_stopping;
};

/* Return: the first one, taken out; NULL: the list is empty. */
static struct job *take_first(struct list *list)
{
    struct job *job;

    if (list_is_empty(list))
        return NULL;
    job = list_entry(list->next, struct job, link);
    list_remove(&job->link);
    return job;
}

/* ---- a thread */

/* Return: the next job; NULL: stop, none waits. */
static struct job *begin_next(struct job_thread *t)
{
    struct job *job;

    LOCK_GUARD(&t->lock);
    while (list_is_empty(&t->waiting) && !t->is_stopping)
        pthread_cond_wait(&t->changed, &t->lock);
    job = take_first(&t->waiting);
    if (job != NULL)
        job->is_running = true;
    return job;
}

static void finish(struct job_thread *t, struct job *job)
{
    LOCK_GUARD(&t->lock);
    list_append(&t->done, &job->link);
    job->is_running = false;
    eventfd_write(t->done_fd, 1);
}

static void *job_thread_main(void *userdata)
{
    struct job_thread *t = userdata;
    struct job *job;

    pthread_setname_np(pthread_self(), t->kind->name);
    confinement_restrict_thread(t->kind->confinement);
    while ((job = begin_next(t)) != NULL) {
        t->kind->run(job);
        finish(t, job);
    }
    return NULL;
}

/* A thread has the capabilities of the one that creates it. */
static int run_create(void *arguments)
{
    struct job_thread *t = arguments;

    return thread_start(&t->threads[t->n_threads], STACK_BYTES, job_thread_main, t);
}

/* ---- the loop */

int job_thread_start(struct job_thread *thread)
{
    struct job_thread *t = thread;
    size_t n = t->kind->n_threads != 0 ? t->kind->n_threads : 1;
    int r = 0;

    assert(n <= JOB_THREADS_MAX);
    while (r == 0 && t->n_threads < n) {
        r = t->kind->is_privileged ? privileged_call(run_create, t) : run_create(t);
        t->n_threads += r == 0;
    }
    return r;
}

/* Return: the next job that is done, taken out; NULL: none. */
static struct job *take_done(struct job_thread *t)
{
    LOCK_GUARD(&t->lock);
    return take_first(&t->done);
}

static void report_done(struct job_thread *t)
{
    struct job *job;

    while ((job = take_done(t)) != NULL)
        t->kind->done(t->userdata, job);
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct job_thread *t = userdata;
    eventfd_t count;

    eventfd_read(t->done_fd, &count);
    report_done(t);
    return 0;
}

int job_thread_add(struct job_thread *thread, struct job *job)
{
    int r = job_thread_start(thread);

    if (r < 0 && thread->n_threads == 0)
        return r;
    list_init(&job->link);
    job->is_running = false;
    LOCK_GUARD(&thread->lock);
    list_append(&thread->waiting, &job->link);
    pthread_cond_signal(&thread->changed);
    return 0;
}

bool job_thread_take_back(struct job_thread *thread, struct job *job)
{
    LOCK_GUARD(&thread->lock);
    if (job->is_running)
        return false;
    list_remove(&job->link);
    return true;
}

/* ---- the object */

int job_thread_new(sd_event *event, const struct job_kind *kind, void *userdata,
                   struct job_thread **ret_thread)
{
    _cleanup_(job_thread_freep) struct job_thread *t = calloc(1, sizeof(*t));
    int r;

    if (t == NULL)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    list_init(&t->waiting);
    list_init(&t->done);
    t->kind = kind;
    t->userdata = userdata;
    t->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->done_fd < 0)
        return negative_errno();
    r = sd_event_add_io(event, &t->done_source, t->done_fd, EPOLLIN, on_done, t);
    if (r < 0)
        return r;
    *ret_thread = TAKE(t);
    return 0;
}

static void stop(struct job_thread *t)
{
    {
        LOCK_GUARD(&t->lock);
        t->is_stopping = true;
        pthread_cond_broadcast(&t->changed);
    }
    while (t->n_threads > 0)
        pthread_join(t->threads[--t->n_threads], NULL);
}

void job_thread_finish(struct job_thread *thread)
{
    stop(thread);
    report_done(thread);
}

struct job_thread *job_thread_free(struct job_thread *thread)
{
    struct job *job;

    if (thread == NULL)
        return NULL;
    stop(thread);
    while ((job = take_done(thread)) != NULL)
        thread->kind->free(job);
    sd_event_source_disable_unref(thread->done_source);
    fd_close(thread->done_fd);
    pthread_cond_destroy(&thread->changed);
    pthread_mutex_destroy(&thread->lock);
    free(thread);
    return NULL;
}
