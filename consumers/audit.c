/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     consumers' thread --> queue (bounded, under a lock) --> audit's thread --> target
 *
 * Only the thread of the audit touches the target, so a full disk, a file system that hangs or a
 * peer that does not read fills the queue, which drops lines and counts them, and delays no reader
 * and no update. The thread has a descriptor table of its own, since the file could be in a mount
 * that this process serves, and what the event loop may do. It does not log, as the journal's
 * descriptor is not in its table: it leaves its failure for the loop.
 *
 * A line is written whole or again: what was written of it counts for that descriptor only. A line
 * whose file fails half way is continued when there is room. The file's name is looked up before
 * each line, so a file that was rotated away gets none.
 */
#include "consumers/audit.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/descriptors.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "consumers/audit_queue.h"
#include "consumers/audit_target.h"

#define STACK_BYTES  131072u
#define CHUNK_BYTES  65536u
#define RETRY_AFTER  SPAN_SEC(1)
#define SEND_WAIT_MS 200 /* for a peer, until the thread looks whether it shall end */
#define END_WAIT     SPAN_SEC(2)

struct audit {
    char *text; /* the target as it was given */
    struct audit_target target;
    pthread_t thread;
    sd_event_source *reports;
    int report_fd; /* eventfd: the thread's failure has changed */

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct audit_queue *queue;
    bool is_stopping, has_ended;
    uint64_t n_written;
    int failure; /* -errno of the target; 0: it takes lines */
    int logged_failure;

    atomic_bool must_reopen;

    /* the thread's */
    int fd;         /* of the target; -1 */
    size_t written; /* of the line that is being written, to fd */
    char chunk[CHUNK_BYTES];
};

/* ---- for the loop */

static void log_failure(const struct audit *a, int failure)
{
    if (failure < 0)
        log_error("cannot write the audit; retrying, and lines that do not fit in memory are "
                  "dropped",
                  "audit", a->text, "error", strerror(-failure));
    else
        log_info("the audit is written again", "audit", a->text);
}

static int on_report(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct audit *a = userdata;
    eventfd_t ignored;
    int failure;

    eventfd_read(fd, &ignored);
    pthread_mutex_lock(&a->lock);
    failure = a->failure;
    pthread_mutex_unlock(&a->lock);
    if (failure != a->logged_failure)
        log_failure(a, failure);
    a->logged_failure = failure;
    return 0;
}

/* ---- the thread: writing */

static void set_failure(struct audit *a, int failure)
{
    LOCK_GUARD(&a->lock);
    if (a->failure == failure)
        return;
    a->failure = failure;
    eventfd_write(a->report_fd, 1);
}

static void close_target(struct audit *a)
{
    a->fd = fd_close(a->fd);
    a->written = 0;
}

/* Return: 0; -errno. */
static int open_target(struct audit *a)
{
    bool must_reopen = atomic_exchange(&a->must_reopen, false);

    if (a->fd >= 0 && (must_reopen || audit_target_is_moved(&a->target, a->fd)))
        close_target(a);
    return a->fd >= 0 ? 0 : audit_target_open(&a->target, &a->fd);
}

/* Return: 0: the line is written; -EAGAIN: the peer does not take it now; -errno. */
static int try_line(struct audit *a, const char *line, size_t len)
{
    int r = open_target(a);

    while (r == 0 && a->written < len) {
        ssize_t n = audit_target_write(&a->target, a->fd, line + a->written, len - a->written);

        if (n > 0)
            a->written += (size_t)n;
        else if (n != -EINTR)
            r = n < 0 ? (int)n : -EIO;
    }
    if (r == 0)
        a->written = 0;
    else if (r != -EAGAIN && a->target.kind != AUDIT_FILE)
        close_target(a);
    return r;
}

/* connect(2) fails with EAGAIN, too: nothing shows when the queue of a listener has room again. */
static bool awaits_peer(const struct audit *a, int result)
{
    return result == -EAGAIN && a->fd >= 0;
}

/* Return: whether to try again; else the thread ends. */
static bool wait_to_retry(struct audit *a, int result)
{
    struct pollfd peer = {.fd = a->fd, .events = POLLOUT};
    mono_us until = clock_mono() + RETRY_AFTER;
    bool is_stopping;

    if (awaits_peer(a, result))
        poll(&peer, 1, SEND_WAIT_MS);
    pthread_mutex_lock(&a->lock);
    while (!awaits_peer(a, result) && !a->is_stopping && condition_wait(&a->wake, &a->lock, until))
        ;
    is_stopping = a->is_stopping;
    pthread_mutex_unlock(&a->lock);
    return !is_stopping;
}

/* Return: whether the line is written; else the thread ends. */
static bool write_line(struct audit *a, const char *line, size_t len)
{
    int r;

    while ((r = try_line(a, line, len)) != 0) {
        if (!awaits_peer(a, r))
            set_failure(a, r);
        if (!wait_to_retry(a, r))
            return false;
    }
    set_failure(a, 0);
    LOCK_GUARD(&a->lock);
    a->n_written++;
    return true;
}

static bool write_chunk(struct audit *a, size_t len)
{
    size_t line_len;

    for (size_t at = 0; at < len; at += line_len) {
        const char *end = memchr(a->chunk + at, '\n', len - at);

        assert(end != NULL);
        line_len = (size_t)(end + 1 - (a->chunk + at));
        if (!write_line(a, a->chunk + at, line_len))
            return false;
    }
    return true;
}

/* ---- the thread: waiting */

/* Wait until there are lines. Return: their bytes; 0: the thread ends. */
static size_t take_chunk(struct audit *a)
{
    size_t n;

    LOCK_GUARD(&a->lock);
    for (;;) {
        mono_us now = a->is_stopping ? SPAN_FOREVER : clock_mono();

        n = audit_queue_take(a->queue, now, clock_wall(), a->chunk, sizeof(a->chunk));
        if (n > 0 || a->is_stopping)
            return n;
        condition_wait(&a->wake, &a->lock, audit_queue_due_at(a->queue));
    }
}

static void note_end(struct audit *a)
{
    LOCK_GUARD(&a->lock);
    a->has_ended = true;
    pthread_cond_signal(&a->wake);
}

static void *audit_main(void *userdata)
{
    struct audit *a = userdata;
    size_t n;
    int r;

    pthread_setname_np(pthread_self(), "audit");
    confinement_restrict_thread(CONFINEMENT_LOOP);
    r = descriptors_keep_own(&a->report_fd, 1);
    set_failure(a, r);
    while (r == 0 && (n = take_chunk(a)) > 0 && write_chunk(a, n))
        ;
    close_target(a);
    note_end(a);
    return NULL;
}

/* ---- what callers use */

void audit_reopen(struct audit *audit)
{
    if (audit != NULL)
        atomic_store(&audit->must_reopen, true);
}

void audit_add_volume(struct audit *audit, uint64_t volume, const struct audit_volume *name)
{
    LOCK_GUARD(&audit->lock);
    (void)audit_queue_add_volume(audit->queue, volume, name, clock_mono());
}

void audit_remove_volume(struct audit *audit, uint64_t volume)
{
    LOCK_GUARD(&audit->lock);
    audit_queue_remove_volume(audit->queue, volume);
}

void audit_add(struct audit *audit, uint64_t volume, const struct audit_open *open)
{
    LOCK_GUARD(&audit->lock);
    audit_queue_add(audit->queue, volume, open, clock_mono());
    pthread_cond_signal(&audit->wake);
}

void audit_note_dropped(struct audit *audit, uint64_t volume, uint64_t n)
{
    LOCK_GUARD(&audit->lock);
    audit_queue_drop(audit->queue, volume, n, clock_mono());
    pthread_cond_signal(&audit->wake);
}

void audit_note_lost(struct audit *audit)
{
    LOCK_GUARD(&audit->lock);
    audit_queue_note_lost(audit->queue, clock_mono());
    pthread_cond_signal(&audit->wake);
}

struct audit_counts audit_counts(struct audit *audit)
{
    LOCK_GUARD(&audit->lock);
    return (struct audit_counts){.n_written = audit->n_written,
                                 .n_dropped = audit_queue_dropped(audit->queue)};
}

/* ---- the object */

/* Without its thread. */
static void audit_destroy(struct audit *a)
{
    sd_event_source_disable_unref(a->reports);
    fd_close(a->report_fd);
    audit_queue_free(a->queue);
    pthread_cond_destroy(&a->wake);
    pthread_mutex_destroy(&a->lock);
    free(a->text);
    free(a);
}

/* Return: 0; -errno with @e. */
static int start(struct audit *a, sd_event *event, const char *target, struct error *e)
{
    int r;

    a->text = strdup(target);
    if (a->text == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the audit");
    r = audit_target_parse(a->text, &a->target, e);
    if (r < 0)
        return r;
    a->report_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = a->report_fd < 0 ? negative_errno() : audit_queue_new(clock_mono(), &a->queue);
    if (r >= 0)
        r = sd_event_add_io(event, &a->reports, a->report_fd, POLLIN, on_report, a);
    if (r >= 0)
        r = thread_start(&a->thread, STACK_BYTES, audit_main, a);
    return r < 0 ? error_set_errno(e, r, "cannot start the audit") : 0;
}

int audit_new(sd_event *event, const char *target, struct audit **ret_audit, struct error *e)
{
    struct audit *a = calloc(1, sizeof(*a));
    int r;

    if (a == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the audit");
    a->fd = a->report_fd = -1;
    pthread_mutex_init(&a->lock, NULL);
    condition_init(&a->wake);
    r = start(a, event, target, e);
    if (r < 0)
        audit_destroy(a);
    else
        *ret_audit = a;
    return r;
}

/* Return: whether the thread is about to end; false: its target hangs. */
static bool stop_thread(struct audit *a)
{
    mono_us until = clock_mono() + END_WAIT;

    LOCK_GUARD(&a->lock);
    a->is_stopping = true;
    pthread_cond_signal(&a->wake);
    while (!a->has_ended && condition_wait(&a->wake, &a->lock, until))
        ;
    return a->has_ended;
}

struct audit *audit_free(struct audit *audit)
{
    if (audit == NULL)
        return NULL;
    if (!stop_thread(audit)) {
        log_warn("the end of the audit is not written: its target hangs", "audit", audit->text);
        return NULL;
    }
    pthread_join(audit->thread, NULL);
    audit_destroy(audit);
    return NULL;
}
