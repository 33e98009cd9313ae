/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/notifier.h"

#include <pthread.h>

#include "base/confinement.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base/util.h"

#define STACK_BYTES 131072u /* the least that arm64 allows */

struct notifier {
    struct fuse_session *fuse;
    notifier_after_fn *after;
    void *userdata;
    pthread_t thread;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    const struct notification *all;
    size_t n;
    bool is_requested;
    uint64_t n_runs; /* that ended */
    bool is_stopping;
};

static void send(const struct notifier *notifier, const struct notification *each)
{
    switch (each->kind) {
    case NOTIFY_ATTRIBUTES:
        fuse_lowlevel_notify_inval_inode(notifier->fuse, each->id, -1, 0);
        break;
    case NOTIFY_ENTRY:
        fuse_lowlevel_notify_inval_entry(notifier->fuse, each->id, each->name, strlen(each->name));
        break;
    }
}

/* Return: whether there is a request; false at the end. */
static bool wait_for_request(struct notifier *notifier)
{
    LOCK_GUARD(&notifier->lock);
    while (!notifier->is_requested && !notifier->is_stopping)
        pthread_cond_wait(&notifier->changed, &notifier->lock);
    return !notifier->is_stopping;
}

static void report_done(struct notifier *notifier)
{
    LOCK_GUARD(&notifier->lock);
    notifier->is_requested = false;
    notifier->n_runs++;
    pthread_cond_broadcast(&notifier->changed);
}

static void *notifier_main(void *userdata)
{
    struct notifier *notifier = userdata;

    pthread_setname_np(pthread_self(), "notifier");
    confinement_restrict_thread(CONFINEMENT_WORKER);
    while (wait_for_request(notifier)) {
        for (size_t i = 0; i < notifier->n; i++)
            send(notifier, &notifier->all[i]);
        notifier->after(notifier->userdata);
        report_done(notifier);
    }
    return NULL;
}

int notifier_new(struct fuse_session *fuse, notifier_after_fn *after, void *userdata,
                 struct notifier **ret_notifier, struct error *e)
{
    struct notifier *notifier = calloc(1, sizeof(*notifier));
    int r;

    if (notifier == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the notifier");
    notifier->fuse = fuse;
    notifier->after = after;
    notifier->userdata = userdata;
    pthread_mutex_init(&notifier->lock, NULL);
    pthread_cond_init(&notifier->changed, NULL);
    r = thread_start(&notifier->thread, STACK_BYTES, notifier_main, notifier);
    if (r < 0) {
        free(notifier);
        return error_set_errno(e, r, "cannot start the notifier's thread");
    }
    *ret_notifier = notifier;
    return 0;
}

struct notifier *notifier_free(struct notifier *notifier)
{
    if (notifier == NULL)
        return NULL;
    {
        LOCK_GUARD(&notifier->lock);
        assert(!notifier->is_requested);
        notifier->is_stopping = true;
        pthread_cond_broadcast(&notifier->changed);
    }
    pthread_join(notifier->thread, NULL);
    pthread_cond_destroy(&notifier->changed);
    pthread_mutex_destroy(&notifier->lock);
    free(notifier);
    return NULL;
}

void notifier_run(struct notifier *notifier, const struct notification *all, size_t n)
{
    LOCK_GUARD(&notifier->lock);
    while (notifier->is_requested) /* by another thread */
        pthread_cond_wait(&notifier->changed, &notifier->lock);
    notifier->all = all;
    notifier->n = n;
    notifier->is_requested = true;
    pthread_cond_broadcast(&notifier->changed);
    for (uint64_t run = notifier->n_runs; run == notifier->n_runs;)
        pthread_cond_wait(&notifier->changed, &notifier->lock);
}
