/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities belong to threads. The event loop parses what other processes send: gRPC, HTTP,
 * JSON, YAML. So it gives up its capabilities, for good, and asks this thread for the few things
 * that need one. The loop waits for each, so a call may use the loop's objects and needs no lock,
 * and the order of what happens is the one in which the loop's code stands.
 *
 *     loop          call = C, wake           waits            takes the result
 *     privileged              runs C, result is there, wake
 *
 * What the thread does is chosen among functions of this program that the loop names: mounting in
 * fuse/mount_view.c, targets in node/target.c and node/created_dirs.c, reading in
 * base/file_access.c, and starting publishers. It parses nothing but the kernel's mountinfo.
 *
 * As an ordinary user the process has no capabilities. The loop is restricted all the same, with
 * no_new_privs, which a filter of system calls takes; this thread is not, and runs fusermount3 and
 * credential plug-ins, which may be set-user-ID.
 *
 * Threads inherit capabilities from the thread that creates them, so a publisher is created here,
 * and all others are created by the loop.
 *
 * The state is global, as what it stands for is: the capabilities of this process.
 */
#include "base/privileged.h"

#include <pthread.h>
#include <unistd.h>

#include "base/confinement.h"
#include "base/lock.h"
#include "base/thread.h"

/* Paths of PATH_MAX, a line of mountinfo. The default would count against the limit of locked
 * memory. */
#define STACK_BYTES 262144u

struct call {
    privileged_fn *run;
    void *arguments;
    int result;
    bool is_done;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct call *call; /* NULL: none; lock */
    bool is_stopping;  /* lock */
    bool is_running;   /* the loop's, and written before and after the thread runs */
    pthread_t thread;
} privileged = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* ---- the thread */

/* The lock is held, and given up while the call runs. */
static void answer(struct call *call)
{
    int result;

    privileged.call = NULL;
    pthread_mutex_unlock(&privileged.lock);
    result = call->run(call->arguments);
    pthread_mutex_lock(&privileged.lock);
    call->result = result;
    call->is_done = true;
    pthread_cond_broadcast(&privileged.changed);
}

static void *privileged_main(void *unused)
{
    pthread_setname_np(pthread_self(), "privileged");
    confinement_restrict_thread(CONFINEMENT_PRIVILEGED);
    LOCK_GUARD(&privileged.lock);
    while (!privileged.is_stopping) {
        if (privileged.call != NULL)
            answer(privileged.call);
        else
            pthread_cond_wait(&privileged.changed, &privileged.lock);
    }
    return NULL;
}

/* ---- the loop */

int privileged_start(struct error *e)
{
    int r;

    assert(!privileged.is_running);
    privileged.is_stopping = false;
    r = thread_start(&privileged.thread, STACK_BYTES, privileged_main, NULL);
    if (r < 0)
        return error_set_errno(e, r, "cannot start the privileged thread");
    privileged.is_running = true;
    return 0;
}

void privileged_stop(void)
{
    if (!privileged.is_running)
        return;
    {
        LOCK_GUARD(&privileged.lock);
        privileged.is_stopping = true;
        pthread_cond_broadcast(&privileged.changed);
    }
    pthread_join(privileged.thread, NULL);
    privileged.is_running = false;
}

int privileged_call(privileged_fn *run, void *arguments)
{
    struct call call = {.run = run, .arguments = arguments};

    if (!privileged.is_running || pthread_equal(pthread_self(), privileged.thread) != 0)
        return run(arguments);
    LOCK_GUARD(&privileged.lock);
    assert(privileged.call == NULL);
    privileged.call = &call;
    pthread_cond_broadcast(&privileged.changed);
    while (!call.is_done)
        pthread_cond_wait(&privileged.changed, &privileged.lock);
    return call.result;
}

int privileged_retry(privileged_fn *run, void *arguments)
{
    int r = run(arguments);

    return r == -EACCES ? privileged_call(run, arguments) : r;
}

int privileged_run_program(privileged_fn *run, void *arguments)
{
    return geteuid() == 0 ? run(arguments) : privileged_call(run, arguments);
}
