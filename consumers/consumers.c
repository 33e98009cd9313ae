/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system that answers OPEN has each open reported by the worker that answers it, before the
 * reader's open(2) returns: which version it gets, and the number of its thread. The worker puts
 * that into a bounded queue (open_queue.c) and waits for nothing; a thread looks the process up. By
 * then the reader may have ended and its number may be another's: process_identify_opener().
 *
 * Of the other file systems the workers get no OPEN. The kernel queues an event for each open of a
 * file of the file system, in every mount and mount namespace, and merges those of one process and
 * file that wait. Readers wait for nothing, and no FUSE request is sent. A thread takes the events:
 * each brings a descriptor of the file, whose inode number is the node's id, and a pidfd.
 *
 * - The thread never asks the workers (AT_STATX_DONT_SYNC) once it runs. Still it closes files of
 *   the mount, so it has a descriptor table of its own.
 * - A waiting event holds the mount through which the file was opened: until it is taken, umount(2)
 *   of that mount fails with EBUSY. So the thread takes events at once, unless it would need more
 *   than one part in SHARE of a processor: then it lets them wait, and the kernel merges them, or
 *   drops them beyond its limit (fs.fanotify.max_queued_events) and says so. What it has dropped
 *   may concern each volume: all of them have a gap from then on.
 * - The publisher opens a file once, so that the kernel learns that it need not ask. This process
 * is no consumer.
 * - A pid is looked up below /proc, then the pidfd shows that it was not recycled meanwhile.
 */
#include "consumers/consumers.h"

#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>

#include "base/confinement.h"
#include "base/descriptors.h"
#include "base/lock.h"
#include "base/privileged.h"
#include "base/thread.h"
#include "consumers/open_queue.h"
#include "consumers/process.h"

#define STACK_BYTES    131072u
#define EVENTS_BYTES   8192u       /* about 200 events */
#define SHARE          4           /* one part in so many of a processor for events, at most */
#define PAUSE_AFTER    SPAN_MS(50) /* of work at a stretch; less is a burst, as of pods that start */
#define PAUSE_MAX      SPAN_MS(200)
/* A volume whose consumers are too many is swept that often. */
#define SWEEP_INTERVAL SPAN_MS(100)

#ifndef FAN_REPORT_PIDFD
#define FAN_REPORT_PIDFD          0x00000080 /* Linux 5.15 */
#define FAN_EVENT_INFO_TYPE_PIDFD 4
#endif

struct consumers {
    struct tree *tree;
    struct session *session;
    struct audit *audit; /* borrowed; NULL: none */
    pthread_t thread;
    int wake_fd; /* eventfd */
    atomic_bool is_stopping;
    atomic_bool is_taking; /* events that are not in the queue any more may not be in the table */
    /* of fanotify, or an eventfd; in the thread's table of descriptors and in the process's */
    int events_fd;
    struct open_queue *queue;   /* of a file system that answers OPEN; else NULL */
    pthread_mutex_t queue_lock; /* the tree's lock may be held */
    sem_t started;
    struct error start_error;
    int start_result; /* valid once started is posted */

    /* the thread's */
    mono_us busy_since; /* less the pauses */
    mono_us swept_at;
    uint64_t swept_volume;

    pthread_mutex_t lock;
    struct table *table;
};

/* ---- one event */

static enum consumer_life life_of(void *userdata, const struct consumer_identity *identity)
{
    return process_life(identity);
}

/* Return: whether there may be room now. */
static bool make_room(struct consumers *c, uint64_t volume)
{
    mono_us now = clock_mono();

    if (c->swept_volume == volume && now - c->swept_at < SWEEP_INTERVAL)
        return false;
    c->swept_volume = volume;
    c->swept_at = now;
    table_sweep(c->table, volume, life_of, NULL);
    return true;
}

static void note_open(struct consumers *c, const struct table_open *open)
{
    int r;

    LOCK_GUARD(&c->lock);
    r = table_open(c->table, open);
    if (r == TABLE_IS_FULL && make_room(c, open->volume))
        r = table_open(c->table, open);
    if (r == TABLE_IS_FULL)
        table_note_full(c->table, open);
}

/* A table_first_fn, called with the lock held. */
static void on_first_open(void *userdata, const struct table_open *open,
                          const struct object_entry *entry)
{
    const struct consumers *c = userdata;
    const struct audit_open line = {.at = open->at,
                                    .identity = open->identity,
                                    .pid = open->pid,
                                    .object = &open->content.object->key,
                                    .key = entry->key,
                                    .version = open->content.object->resource_version};

    audit_add(c->audit, open->volume, &line);
}

/* ---- opens that the kernel reports */

static void note_lost(struct consumers *c)
{
    if (c->audit != NULL)
        audit_note_lost(c->audit);
    LOCK_GUARD(&c->lock);
    table_note_lost(c->table, 0);
}

static int find_file(const struct consumers *c, int fd, struct tree_file *ret)
{
    struct statx status;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &status) < 0)
        return negative_errno();
    return tree_describe_file(c->tree, status.stx_ino, ret);
}

static void note_fanotify_open(struct consumers *c, int fd, pid_t pid, int pidfd)
{
    struct consumer_identity identity;
    struct table_open open = {.identity = NULL, .pid = pid, .at = clock_wall()};
    struct tree_file file;

    if (pidfd >= 0 && process_identify(pid, pidfd, &identity)) /* first: it may end soon */
        open.identity = &identity;
    if (find_file(c, fd, &file) < 0)
        return; /* of a volume that is gone */
    open.volume = file.volume;
    open.edition = file.edition;
    open.content = file.content;
    note_open(c, &open);
    object_unref(file.content.object);
}

static void take_event(struct consumers *c, const struct fanotify_event_metadata *event)
{
    _cleanup_(fd_closep) int fd = event->fd;
    _cleanup_(fd_closep) int pidfd = process_event_pidfd(event);

    if ((event->mask & FAN_Q_OVERFLOW) != 0 || fd < 0)
        note_lost(c);
    else if (event->pid != getpid())
        note_fanotify_open(c, fd, event->pid, pidfd);
}

/* Return: whether there were any. */
static bool take_events(struct consumers *c)
{
    _Alignas(struct fanotify_event_metadata) char buf[EVENTS_BYTES];
    ssize_t n = read(c->events_fd, buf, sizeof(buf));
    struct fanotify_event_metadata *event = (void *)buf;

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        note_lost(c); /* such as EMFILE: the kernel has dropped the event */
    for (; n > 0 && FAN_EVENT_OK(event, n); event = FAN_EVENT_NEXT(event, n))
        take_event(c, event);
    return n != 0 && !(n < 0 && errno == EAGAIN);
}

/* ---- opens that workers report */

/* A live_file_opened_fn, called with the tree's lock held. */
static void on_opened(void *userdata, const struct live_opened *opened)
{
    struct consumers *c = userdata;
    const struct queued_open open = {
        .opened = *opened, .at = clock_wall(), .ticks = process_ticks_now()};

    LOCK_GUARD(&c->queue_lock);
    if (open_queue_add(c->queue, &open))
        eventfd_write(c->events_fd, 1);
}

static void note_lost_opens(struct consumers *c, const struct open_queue_turn *turn)
{
    if (c->audit != NULL)
        audit_note_dropped(c->audit, turn->volume, turn->n_lost);
    LOCK_GUARD(&c->lock);
    table_note_lost(c->table, turn->volume);
}

static void note_queued_open(struct consumers *c, const struct queued_open *queued)
{
    const struct live_opened *opened = &queued->opened;
    struct consumer_identity identity;
    struct table_open open = {.volume = opened->file.volume,
                              .edition = opened->file.edition,
                              .content = opened->file.content,
                              .pid = opened->thread,
                              .at = queued->at};

    if (process_identify_opener(opened->thread, queued->ticks, &identity)) {
        open.identity = &identity;
        open.pid = identity.process.pid;
    }
    if (open.pid != getpid())
        note_open(c, &open);
    object_unref(opened->file.content.object);
}

static bool take_turn(struct consumers *c, struct open_queue_turn *ret_turn)
{
    LOCK_GUARD(&c->queue_lock);
    return open_queue_take(c->queue, ret_turn);
}

/* Return: whether there was any. */
static bool take_queued(struct consumers *c)
{
    struct open_queue_turn turn;
    eventfd_t ignored;

    eventfd_read(c->events_fd, &ignored);
    if (!take_turn(c, &turn))
        return false;
    if (turn.n_lost > 0)
        note_lost_opens(c, &turn);
    if (turn.has_open)
        note_queued_open(c, &turn.open);
    LOCK_GUARD(&c->queue_lock);
    open_queue_end_turn(c->queue);
    return true;
}

/* ---- the thread */

static void wait_for(struct consumers *c, bool for_events, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = c->wake_fd, .events = POLLIN},
                           {.fd = for_events ? c->events_fd : -1, .events = POLLIN}};

    poll(fds, ELEMENTS_OF(fds), timeout_ms);
}

/* Let events wait after PAUSE_AFTER of work without rest. */
static void pause_if_busy(struct consumers *c)
{
    span_us busy = clock_mono() - c->busy_since;
    span_us pause = busy * (SHARE - 1);

    if (busy < PAUSE_AFTER)
        return;
    wait_for(c, false, (int)((pause < PAUSE_MAX ? pause : PAUSE_MAX) / SPAN_MS(1)));
    c->busy_since = clock_mono();
}

static void run(struct consumers *c)
{
    c->busy_since = clock_mono();
    while (!atomic_load(&c->is_stopping)) {
        bool had_events;

        atomic_store(&c->is_taking, true);
        had_events = c->queue != NULL ? take_queued(c) : take_events(c);
        atomic_store(&c->is_taking, false);
        if (had_events) {
            pause_if_busy(c);
            continue;
        }
        wait_for(c, true, -1);
        c->busy_since = clock_mono();
    }
}

static int mark(struct consumers *c, struct error *e)
{
    int root_fd, r;

    r = session_begin_write(c->session, &root_fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot see opens of the file system");
    if (fanotify_mark(c->events_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, root_fd, ".") < 0)
        r = error_set_errno(e, negative_errno(), "cannot see opens of the file system by fanotify");
    session_end_write(c->session, root_fd);
    return r;
}

static void *consumers_main(void *userdata)
{
    struct consumers *c = userdata;
    int keep[] = {c->wake_fd < c->events_fd ? c->wake_fd : c->events_fd,
                  c->wake_fd < c->events_fd ? c->events_fd : c->wake_fd};

    pthread_setname_np(pthread_self(), "consumers");
    c->start_result = descriptors_keep_own(keep, ELEMENTS_OF(keep));
    if (c->start_result < 0)
        error_set_errno(&c->start_error, c->start_result, "cannot see opens");
    else if (c->queue == NULL)
        c->start_result = mark(c, &c->start_error);
    confinement_restrict_thread(CONFINEMENT_WORKER);
    sem_post(&c->started);
    if (c->start_result == 0)
        run(c);
    return NULL;
}

/* ---- the object */

/* By the privileged thread: a thread has the capabilities of the one that creates it. */
static int run_create(void *arguments)
{
    struct consumers *c = arguments;

    c->events_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_PIDFD,
                                 O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (c->events_fd < 0)
        return negative_errno();
    return thread_start(&c->thread, STACK_BYTES, consumers_main, c);
}

static int start_queue(struct consumers *c, struct error *e)
{
    int r = open_queue_new(&c->queue);

    if (r == 0) {
        c->events_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = c->events_fd < 0 ? negative_errno()
                             : thread_start(&c->thread, STACK_BYTES, consumers_main, c);
    }
    return r < 0 ? error_set_errno(e, r, "cannot see opens") : 0;
}

static int start_fanotify(struct consumers *c, struct error *e)
{
    int r = privileged_call(run_create, c);

    return r < 0 ? error_set_errno(e, r,
                                   "cannot see opens by fanotify, which takes root's rights and "
                                   "Linux 5.15")
                 : 0;
}

static int start_thread(struct consumers *c, struct error *e)
{
    int r = tree_answers_open(c->tree) ? start_queue(c, e) : start_fanotify(c, e);

    if (r < 0)
        return r;
    while (sem_wait(&c->started) < 0 && errno == EINTR)
        ;
    if (c->start_result == 0)
        return 0;
    pthread_join(c->thread, NULL);
    *e = c->start_error;
    return c->start_result;
}

/* Without its thread. */
static void consumers_destroy(struct consumers *c)
{
    table_free(c->table);
    open_queue_free(c->queue);
    fd_close(c->wake_fd);
    fd_close(c->events_fd);
    sem_destroy(&c->started);
    pthread_mutex_destroy(&c->queue_lock);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int consumers_new(struct tree *tree, struct session *session, struct audit *audit,
                  struct consumers **ret_consumers, struct error *e)
{
    struct consumers *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return error_set_errno(e, -ENOMEM, "cannot see opens");
    c->tree = tree;
    c->session = session;
    c->audit = audit;
    c->events_fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->queue_lock, NULL);
    sem_init(&c->started, 0, 0);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = c->wake_fd < 0 ? negative_errno() : table_new(&c->table);
    if (r == 0 && audit != NULL)
        table_report_first(c->table, on_first_open, c);
    r = r < 0 ? error_set_errno(e, r, "cannot see opens") : start_thread(c, e);
    if (r < 0) {
        consumers_destroy(c);
        return r;
    }
    if (c->queue != NULL)
        live_file_observe(tree, on_opened, c);
    *ret_consumers = c;
    return 0;
}

struct consumers *consumers_free(struct consumers *consumers)
{
    if (consumers == NULL)
        return NULL;
    if (consumers->queue != NULL)
        live_file_observe(consumers->tree, NULL, NULL);
    atomic_store(&consumers->is_stopping, true);
    eventfd_write(consumers->wake_fd, 1);
    pthread_join(consumers->thread, NULL);
    consumers_destroy(consumers);
    return NULL;
}

static void drop_volume(struct consumers *c, uint64_t volume)
{
    if (c->queue != NULL) {
        LOCK_GUARD(&c->queue_lock);
        open_queue_remove_volume(c->queue, volume);
    }
    LOCK_GUARD(&c->lock);
    table_remove(c->table, volume);
}

/* The table first, so that it knows each volume of which an open is queued. */
static int add_volume(struct consumers *c, uint64_t volume, uint64_t edition,
                      const struct payload *payload, bool is_adopted)
{
    int r;

    {
        LOCK_GUARD(&c->lock);
        r = table_publish(c->table, volume, edition, payload, is_adopted);
    }
    if (r < 0 || c->queue == NULL)
        return r;
    LOCK_GUARD(&c->queue_lock);
    return open_queue_add_volume(c->queue, volume);
}

/* A volume that did not get into table and queue counts as unknown. */
void consumers_published(struct consumers *consumers, uint64_t volume,
                         const struct audit_volume *name, uint64_t edition,
                         const struct payload *payload, bool is_adopted)
{
    if (consumers->audit != NULL)
        audit_add_volume(consumers->audit, volume, name);
    if (add_volume(consumers, volume, edition, payload, is_adopted) < 0)
        drop_volume(consumers, volume);
}

void consumers_remove(struct consumers *consumers, uint64_t volume)
{
    if (consumers->audit != NULL)
        audit_remove_volume(consumers->audit, volume);
    drop_volume(consumers, volume);
}

/*
 * Whether opens before now may not be in the table yet. The kernel's queue comes first: what was in
 * it, and is not any more, the thread took after it had set is_taking.
 */
static bool is_behind(struct consumers *c, uint64_t volume)
{
    struct pollfd queue = {.fd = c->events_fd, .events = POLLIN};

    if (c->queue != NULL) {
        LOCK_GUARD(&c->queue_lock);
        return open_queue_is_waiting(c->queue, volume);
    }
    return poll(&queue, 1, 0) != 0 || atomic_load(&c->is_taking);
}

static void count(void *userdata, const struct table_consumer *consumer)
{
    struct consumers_counts *counts = userdata;

    counts->n_current += consumer->state == CONSUMER_CURRENT;
    counts->n_old += consumer->state == CONSUMER_OLD;
}

int consumers_count(struct consumers *consumers, uint64_t volume, bool sweeps,
                    struct consumers_counts *ret_counts)
{
    unsigned ignored;

    *ret_counts = (struct consumers_counts){.n_old = 0};
    LOCK_GUARD(&consumers->lock);
    if (sweeps)
        table_sweep(consumers->table, volume, life_of, NULL);
    return table_visit(consumers->table, volume, count, ret_counts, &ignored);
}

int consumers_visit(struct consumers *consumers, uint64_t volume, table_visit_fn *visit,
                    void *userdata, unsigned *ret_gaps, size_t *ret_held_files)
{
    bool may_miss_some;
    int r;

    /* first: a file that is not open any more was opened before, so that open is queued by now */
    *ret_held_files = tree_held_files(consumers->tree, volume);
    may_miss_some = is_behind(consumers, volume);
    LOCK_GUARD(&consumers->lock);
    table_sweep(consumers->table, volume, life_of, NULL);
    r = table_visit(consumers->table, volume, visit, userdata, ret_gaps);
    if (r == 0 && may_miss_some)
        *ret_gaps |= TABLE_GAP_BEHIND;
    return r;
}
