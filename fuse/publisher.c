/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change made inside the daemon, even with the notifications that FUSE has, raises no inotify
 * event; system calls on the mount raise exactly those that a tmpfs would (D3). So the daemon
 * writes to its own mount. Each call is answered by a FUSE worker, so no worker may make it, and it
 * blocks, so the event loop should not: the publisher is a thread of its own. It may be blocked for
 * longer than others should wait, so there may be more of them, of which one leads; the loop starts
 * them (publisher_pool.c).
 *
 * What it does next is decided by the publish queue (publish_queue.c), which the lock protects
 * together with what the loop and the thread hand each other. The lock is given up before each
 * system call on the mount. Order of waiting: loop, publisher, notifier, kernel, workers.
 *
 *  - A volume has one place for a payload that waits: a newer one takes it. Readers see always some
 *    version that the source had, and never an older one after a newer one.
 *  - Outcomes reach the loop through an eventfd. An outcome that the loop has not fetched is
 *    replaced by the next one of the volume.
 *  - A volume's owner removes it and forgets it: the thread removes the directory and frees it. Its
 *    name may be added again meanwhile; removals are first in the queue, so the directory is gone
 *    before the next one of that name is made.
 *  - The loop waits for a thread in three places: to give up a binding that is under way, as it
 * uses the loop's descriptor; to remove such a volume; and at the end. Each time it waits LOOP_WAIT
 * at most, as the thread may be blocked.
 */
#include "fuse/publisher.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "fuse/publish_queue.h"
#include "fuse/publish_trace.h"
#include "fuse/publisher_pool.h"
#include "fuse/volume_writer.h"

#define STACK_BYTES 262144u /* a few paths; the default would count against the lock limit */

#define LOOP_WAIT SPAN_SEC(5) /* far longer than a step that is not blocked */

static_assert(PUBLISHER_THREADS_MAX <= STAGES_MAX, "a stage for each thread");

struct publisher_volume {
    struct publisher *publisher;
    struct volume_writer writer; /* that of the thread that works on the volume */
    mono_us update_received_at;  /* the same, of the update under way */
    const struct publisher_callbacks *callbacks;
    void *userdata;

    /* under the publisher's lock */
    struct publish_entry entry;
    struct payload *pending; /* submitted; NULL for none */
    mono_us pending_received_at;
    struct list finished; /* in publisher.finished until the loop has fetched the result */
    struct publisher_result result;
    size_t n_mounted_parts;
    mono_us blocked_since; /* 0: no thread is blocked */
    struct list changed;   /* in publisher.changed_volumes until the loop has fetched these two */
    int target_fd;         /* the process's, not the thread's; -1 if there is none */
    bool is_binding;       /* a thread uses target_fd */
    unsigned long mount_attr; /* of the binding, as what follows */
    publisher_bound_fn *on_bound;
    void *bound_userdata;
    struct list bound; /* in publisher.bound until the loop has fetched the outcome */
    int bound_error;
    uint64_t mount_id;
    struct error bound_text;
};

/* Volumes of one pod; under the publisher's lock. */
struct group {
    struct publish_group state;
    size_t n_volumes;
    char *name;
};

struct publisher_thread {
    struct publisher *publisher;
    pthread_t thread;

    /* under the publisher's lock */
    struct publisher_member member;
    struct publisher_volume *volume; /* it works on that, without the lock; NULL for none */
};

struct publisher {
    struct session *session;
    struct volume_writer_host writers;
    struct mount_subscription *mounts; /* NULL: what is mounted alone is not known */
    int done_fd; /* eventfd: there is an outcome, or the loop has to look after the threads */
    sd_event_source *done_source;
    sd_event_source *check_timer; /* when the leader may be blocked */

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct publish_queue queue;
    struct publisher_pool pool;
    bool is_checked; /* check_timer is set */
    void *by_name;   /* tsearch(3) tree of volumes */
    void *by_group;  /* the same of groups */
    struct list finished;
    struct list bound;
    struct list changed_volumes;
    struct publish_trace trace;
    bool is_stopping;
    bool is_probed; /* and the loop has not fetched that */
    publisher_probed_fn *probed;
    void *probed_userdata;
};

static void volume_free(struct publisher_volume *v)
{
    volume_writer_deinit(&v->writer);
    payload_unref(v->pending);
    payload_unref(v->result.payload);
    free(v);
}

static struct publisher_volume *volume_of(struct publish_entry *entry)
{
    return CONTAINER_OF(entry, struct publisher_volume, entry);
}

static int compare_names(const void *a, const void *b)
{
    const struct publisher_volume *x = a, *y = b;

    return strcmp(x->writer.dir.name, y->writer.dir.name);
}

/* ---- groups; the lock is held */

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* Return: 0 or -ENOMEM. @name: NULL for none */
static int join_group(struct publisher *p, struct publisher_volume *v, const char *name)
{
    struct group *g = calloc(1, sizeof(*g)), **slot = NULL;

    if (name == NULL || g == NULL) {
        free(g);
        return name == NULL ? 0 : -ENOMEM;
    }
    g->name = strdup(name);
    if (g->name != NULL)
        slot = tsearch(g, &p->by_group, compare_groups);
    if (slot != NULL) {
        (*slot)->n_volumes++;
        v->entry.group = &(*slot)->state;
    }
    if (slot != NULL && *slot == g)
        return 0;
    free(g->name);
    free(g);
    return slot != NULL ? 0 : -ENOMEM;
}

static void leave_group(struct publisher *p, struct publisher_volume *v)
{
    struct group *g;

    if (v->entry.group == NULL)
        return;
    g = CONTAINER_OF(v->entry.group, struct group, state);
    v->entry.group = NULL;
    if (--g->n_volumes > 0)
        return;
    assert(g->state.n_blocked == 0);
    tdelete(g, &p->by_group, compare_groups);
    free(g->name);
    free(g);
}

/* A thread that works on @v (NULL for none) is blocked now. */
static void note_blocked(struct publisher_volume *v)
{
    if (v != NULL && v->entry.group != NULL)
        v->entry.group->n_blocked++;
}

static void note_returned(struct publisher_volume *v)
{
    if (v == NULL || v->entry.group == NULL)
        return;
    assert(v->entry.group->n_blocked > 0);
    v->entry.group->n_blocked--;
}

/* ---- on the publisher's thread; the lock is held unless said otherwise */

/* @v: NULL for none */
static void trace(struct publisher *p, const struct publish_trace_line *line,
                  const struct publisher_volume *v)
{
    if (publish_trace_add(&p->trace, line, v != NULL ? v->writer.dir.name : NULL))
        eventfd_write(p->done_fd, 1);
}

/* Have the loop fetch an outcome. @link: of a volume, in that list already or not */
static void report(struct publisher *p, struct list *list, struct list *link)
{
    list_remove(link);
    list_append(list, link);
    eventfd_write(p->done_fd, 1);
}

/* A volume that is removed has no owner who would be notified. */
static void set_blocked(struct publisher *p, struct publisher_volume *v, mono_us since)
{
    if (v->blocked_since == since)
        return;
    v->blocked_since = since;
    if (!v->entry.is_removed)
        report(p, &p->changed_volumes, &v->changed);
}

/* Between the two the lock is given up, and @v (NULL for none) is the thread's. */
static void begin_work(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    mono_us now = clock_mono();

    assert(t->volume == NULL);
    t->volume = v;
    publisher_pool_begin(&p->pool, &t->member, v != NULL,
                         v != NULL && publish_queue_is_suspect(&v->entry, now), now);
    if (t->member.state == MEMBER_BLOCKED)
        note_blocked(v);
    if (publisher_pool_needs_leader(&p->pool) || (v != NULL && !p->is_checked))
        eventfd_write(p->done_fd, 1);
    pthread_mutex_unlock(&p->lock);
}

static void end_work(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;
    struct publisher_volume *v = t->volume;

    pthread_mutex_lock(&p->lock);
    t->volume = NULL;
    if (t->member.state == MEMBER_BLOCKED)
        note_returned(v);
    if (v != NULL) {
        publish_queue_done(&v->entry);
        set_blocked(p, v, 0);
    }
    if (!publisher_pool_end(&p->pool, &t->member))
        eventfd_write(p->done_fd, 1); /* the loop joins it */
    pthread_cond_broadcast(&p->changed);
}

static void report_update(struct publisher *p, struct publisher_volume *v, int error,
                          const struct writer_result *written, struct payload *payload_consumed)
{
    payload_unref(v->result.payload);
    v->result =
        (struct publisher_result){.payload = payload_consumed,
                                  .error = error,
                                  .is_visible = written->generation[0] != '\0',
                                  .received_at = v->update_received_at,
                                  .visible_at = written->visible_at,
                                  .n_dropped = tree_dropped(p->writers.tree, v->writer.dir.id)};
    memcpy(v->result.generation, written->generation, sizeof(written->generation));
    report(p, &p->finished, &v->finished);
}

/* The first half of an update. One that fails ends here. */
static void begin_publish(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    static const struct writer_result not_written;
    struct payload *payload = TAKE(v->pending);
    int r;

    assert(payload != NULL);
    v->update_received_at = v->pending_received_at;
    begin_work(t, v);
    r = volume_writer_begin(&v->writer, payload);
    end_work(t);
    publish_queue_begun(&p->queue, &v->entry, r == 0);
    if (r == 0 || v->entry.is_removed) {
        payload_unref(payload); /* the writer has a reference */
        return;
    }
    report_update(p, v, r, &not_written, payload);
    publish_queue_published(&p->queue, &v->entry, (struct publish_outcome){.leaves_old = true},
                            clock_mono());
}

/* The second half. */
static void end_publish(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    struct publish_outcome outcome = {.is_partial = volume_writer_is_partial(&v->writer)};
    bool had_generation = v->writer.has_generation;
    struct payload *payload = payload_ref(v->writer.update.payload);
    struct writer_result written = {.generation = ""};
    struct publish_trace_line ended = {.message = "update ended"};
    int r;

    begin_work(t, v);
    r = volume_writer_end(&v->writer, &written);
    end_work(t);
    if (v->entry.is_removed) {
        payload_unref(payload);
        return;
    }
    ended.error = r;
    memcpy(ended.generation, written.generation, sizeof(ended.generation));
    trace(p, &ended, v);
    report_update(p, v, r, &written, payload);
    outcome.leaves_old = r < 0 || (had_generation && v->writer.makes_generation);
    publish_queue_published(&p->queue, &v->entry, outcome, clock_mono());
}

/* Files that became live after the last update, or were left out of it. */
static void begin_catching_up(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    int r;

    begin_work(t, v);
    r = volume_writer_begin_catching_up(&v->writer);
    end_work(t);
    publish_queue_begun(&p->queue, &v->entry, r == 0);
    if (r == -ENOENT || v->entry.is_removed)
        return;
    if (r < 0 || volume_writer_is_partial(&v->writer))
        publish_queue_catch_up(&p->queue, &v->entry, clock_mono() + PUBLISH_CATCH_UP_AFTER);
}

static void end_catching_up(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    begin_work(t, v);
    volume_writer_end_catching_up(&v->writer);
    end_work(t);
    publish_queue_caught_up(&p->queue, &v->entry);
}

static void clean(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    int r;

    begin_work(t, v);
    r = volume_dir_clean(&v->writer.dir);
    end_work(t);
    publish_queue_cleaned(&p->queue, &v->entry, r, clock_mono());
}

/* Fails when out of memory; with -ENOTCONN when the directory has gone with the mount. */
static void remove_volume(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    int r;

    begin_work(t, v);
    r = volume_writer_remove(&v->writer);
    end_work(t);
    if (r < 0 && r != -ENOTCONN)
        publish_queue_removal_failed(&p->queue, &v->entry, clock_mono());
    else {
        leave_group(p, v);
        volume_free(v);
    }
}

static void bind(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    struct error e = ERROR_INIT;
    uint64_t mount_id = 0;
    int r, target_fd = v->target_fd;

    v->is_binding = true;
    begin_work(t, v);
    r = session_bind(p->session, v->writer.dir.name, target_fd, v->mount_attr, &mount_id, &e);
    end_work(t);
    v->is_binding = false;
    if (v->target_fd != target_fd)
        return; /* the loop has not waited for it */
    v->bound_error = r;
    v->bound_text = e;
    v->mount_id = mount_id;
    report(p, &p->bound, &v->bound);
}

static void probe(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;

    begin_work(t, NULL);
    session_probe(p->session);
    end_work(t);
    p->is_probed = true;
    eventfd_write(p->done_fd, 1);
}

static void on_changed_mounts(void *userdata, const struct live_mounts_change *change)
{
    struct publisher *p = userdata;
    char *mutable_name = strdupa(change->volume);
    const struct publisher_volume like = {.writer = {.dir = {.name = mutable_name}}};
    struct publisher_volume *const *found = tfind(&like, &p->by_name, compare_names);

    if (found == NULL)
        return;
    if ((*found)->n_mounted_parts != change->n_mounted) {
        (*found)->n_mounted_parts = change->n_mounted;
        report(p, &p->changed_volumes, &(*found)->changed);
    }
    if (change->needs_follow)
        publish_queue_follow(&p->queue, &(*found)->entry);
    if (p->writers.answers_open && change->is_behind)
        publish_queue_catch_up(&p->queue, &(*found)->entry, clock_mono());
}

/* The lock is not held. */
static void reconcile_mounts(struct publisher *p)
{
    struct mounted_parts parts = {0};

    if (!mount_subscription_take(p->mounts, &parts))
        return;
    live_mounts_reconcile(p->writers.live_mounts, &parts);
    mounted_parts_deinit(&parts);
}

static void scan(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;

    begin_work(t, NULL);
    reconcile_mounts(p);
    end_work(t);
    live_mounts_visit_changed(p->writers.live_mounts, on_changed_mounts, p);
}

/* The lock is not held. */
static void follow_mounts(struct publisher *p, const char *volume)
{
    int root_fd;

    if (session_begin_write(p->session, &root_fd) < 0)
        return;
    if (live_mounts_follow(p->writers.live_mounts, root_fd, volume))
        mount_subscription_rescan(p->mounts);
    session_end_write(p->session, root_fd);
}

static void follow(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;

    begin_work(t, v);
    follow_mounts(p, v->writer.dir.name);
    end_work(t);
    if (!v->entry.is_removed && live_mounts_take_behind(p->writers.live_mounts, v->writer.dir.name))
        publish_queue_catch_up(&p->queue, &v->entry, clock_mono());
}

static void wait_for_work(struct publisher *p, mono_us until)
{
    const struct timespec t = {.tv_sec = (time_t)(until / 1000000),
                               .tv_nsec = (long)(until % 1000000) * 1000};

    if (until == SPAN_FOREVER)
        pthread_cond_wait(&p->changed, &p->lock);
    else
        pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

/*
 * A scan's result is notified before its time is published (mount_monitor.c), and notifying takes
 * the lock: a thread that holds it and reads the time has been notified of that result.
 */
static struct publish_step next_step(struct publisher *p)
{
    struct publish_entry *e;

    publish_queue_defer_suspects(&p->queue, publisher_pool_is_full(&p->pool));
    publish_queue_for_each_draining(e, &p->queue)
        publish_queue_set_drain(e, volume_writer_drain_until(&volume_of(e)->writer));
    if (p->mounts != NULL)
        publish_queue_set_scanned_at(&p->queue, mount_subscription_scanned_at(p->mounts));
    return publish_queue_next(&p->queue, clock_mono());
}

static void work(struct publisher_thread *t, const struct publish_step *step)
{
    struct publisher_volume *v = step->entry != NULL ? volume_of(step->entry) : NULL;
    struct publisher *p = t->publisher;

    assert(v != NULL || step->action == PUBLISH_ACTION_WAIT ||
           step->action == PUBLISH_ACTION_PROBE || step->action == PUBLISH_ACTION_SCAN);
    if (step->action != PUBLISH_ACTION_WAIT)
        trace(p,
              &(struct publish_trace_line){.message = "step",
                                           .action = publish_action_name(step->action)},
              v);
    switch (step->action) {
    case PUBLISH_ACTION_WAIT:
        wait_for_work(p, step->wait_until);
        break;
    case PUBLISH_ACTION_PROBE:
        probe(t);
        break;
    case PUBLISH_ACTION_REMOVE:
        remove_volume(t, v);
        break;
    case PUBLISH_ACTION_BIND:
        bind(t, v);
        break;
    case PUBLISH_ACTION_COMMIT:
        if (v->entry.is_catching_up)
            end_catching_up(t, v);
        else
            end_publish(t, v);
        break;
    case PUBLISH_ACTION_SCAN:
        scan(t);
        break;
    case PUBLISH_ACTION_FOLLOW:
        follow(t, v);
        break;
    case PUBLISH_ACTION_PUBLISH:
        begin_publish(t, v);
        break;
    case PUBLISH_ACTION_CATCH_UP:
        begin_catching_up(t, v);
        break;
    case PUBLISH_ACTION_REQUEST_SCAN:
        publish_queue_done(&v->entry);
        mount_subscription_request_scan(p->mounts);
        break;
    case PUBLISH_ACTION_CLEAN:
        clean(t, v);
        break;
    }
}

/*
 * A descriptor table of this thread's own, with little in it. When the process is killed while a
 * worker has taken a request of this thread, the request is not answered until the kernel ends the
 * connection, which it does when the device is closed for good. If the device were in this table as
 * well, it would stay open while the thread waits, that is for ever: SIGKILL could not end the
 * process. Nor may a terminal or a pipe stay open here that the process has closed; a log file may.
 */
static void drop_descriptors(const struct publisher *p)
{
    int wake_fd = p->mounts != NULL ? mount_subscription_fd(p->mounts) : p->done_fd;
    unsigned low = (unsigned)(wake_fd < p->done_fd ? wake_fd : p->done_fd);
    unsigned high = (unsigned)(wake_fd < p->done_fd ? p->done_fd : wake_fd);
    struct stat status;
    int null_fd;

    if (unshare(CLONE_FILES) < 0)
        return;
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    if (fstat(STDERR_FILENO, &status) < 0 || !S_ISREG(status.st_mode))
        dup2(null_fd, STDERR_FILENO);
    close_range(STDERR_FILENO + 1, low - 1, 0);
    if (low + 1 < high)
        close_range(low + 1, high - 1, 0);
    close_range(high + 1, UINT_MAX, 0);
}

/* Until it has to end: another thread leads, or the publisher stops. */
static void lead(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;

    LOCK_GUARD(&p->lock);
    if (publisher_pool_has_blocked(&p->pool)) { /* see publisher_pool.c */
        begin_work(t, NULL);
        session_probe(p->session);
        end_work(t);
    }
    while (!p->is_stopping && t->member.state == MEMBER_LEADING) {
        const struct publish_step step = next_step(p);

        work(t, &step);
    }
}

static void *publisher_main(void *userdata)
{
    struct publisher_thread *t = userdata;
    struct publisher *p = t->publisher;

    drop_descriptors(p);
    pthread_setname_np(pthread_self(), "publisher");
    confinement_restrict_thread(CONFINEMENT_PUBLISHER); /* after unshare(2) */
    session_add_publisher(p->session, gettid());
    lead(t);
    session_remove_publisher(p->session, gettid());
    return NULL;
}

/* ---- on the loop's thread */

/* Return: the result that was taken, for which *ret_volume is set; false if there is none. */
static bool take_result(struct publisher *p, struct publisher_volume **ret_volume,
                        struct publisher_result *ret_result)
{
    struct publisher_volume *v;

    LOCK_GUARD(&p->lock);
    if (list_is_empty(&p->finished))
        return false;
    v = list_entry(p->finished.next, struct publisher_volume, finished);
    list_remove(&v->finished);
    *ret_volume = v;
    *ret_result = v->result;
    v->result = (struct publisher_result){0};
    return true;
}

/* Return: the first link of a list, taken out of it; NULL if there is none. */
static struct list *take_first(struct publisher *p, struct list *list)
{
    struct list *first;

    LOCK_GUARD(&p->lock);
    if (list_is_empty(list))
        return NULL;
    first = list->next;
    list_remove(first);
    return first;
}

static bool take_probed(struct publisher *p)
{
    bool is_probed;

    LOCK_GUARD(&p->lock);
    is_probed = p->is_probed;
    p->is_probed = false;
    return is_probed;
}

static void report_bound(struct publisher_volume *v)
{
    const struct error e = v->bound_text;

    v->target_fd = fd_close(v->target_fd);
    v->on_bound(v->bound_userdata, v->bound_error, v->mount_id, &e);
}

static void report_changed(const struct publisher_volume *v)
{
    if (v->callbacks->changed != NULL)
        v->callbacks->changed(v->userdata);
}

static void write_trace(struct publisher *p)
{
    LOCK_GUARD(&p->lock);
    publish_trace_write(&p->trace);
}

/* ---- the threads; on the loop's thread */

static struct publisher_thread *thread_of(struct publisher_member *member)
{
    return CONTAINER_OF(member, struct publisher_thread, member);
}

/* Return: one that has ended, taken out of the pool; NULL if there is none. */
static struct publisher_thread *take_ended(struct publisher *p)
{
    struct publisher_member *m;

    LOCK_GUARD(&p->lock);
    list_for_each (m, &p->pool.members, link)
        if (m->state == MEMBER_ENDED) {
            publisher_pool_remove(&p->pool, m);
            return thread_of(m);
        }
    return NULL;
}

static void join_ended(struct publisher *p)
{
    struct publisher_thread *t;

    while ((t = take_ended(p)) != NULL) {
        pthread_join(t->thread, NULL);
        free(t);
    }
}

static int create_thread(struct publisher_thread *t)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    r = pthread_create(&t->thread, &attr, publisher_main, t);
    pthread_attr_destroy(&attr);
    return -r;
}

/*
 * Start a thread that leads, if none does. One that was blocked may take the lead at any moment
 * when the lock is not held. Return: 0; -errno.
 */
static int start_leader(struct publisher *p)
{
    struct publisher_thread *t;
    int r;

    LOCK_GUARD(&p->lock);
    if (!publisher_pool_needs_leader(&p->pool) || p->is_stopping)
        return 0;
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    t->publisher = p;
    publisher_pool_add(&p->pool, &t->member);
    r = create_thread(t);
    if (r < 0) {
        publisher_pool_remove(&p->pool, &t->member);
        free(t);
    }
    return r;
}

/* The lock is held. Note which volumes are blocked. Return: whether there are steps under way. */
static bool check_threads(struct publisher *p, mono_us now)
{
    struct publisher_member *blocked = publisher_pool_check(&p->pool, now), *m;
    bool is_working = false;

    if (blocked != NULL)
        note_blocked(thread_of(blocked)->volume);
    list_for_each (m, &p->pool.members, link) {
        struct publisher_volume *v = thread_of(m)->volume;

        if (v == NULL)
            continue;
        is_working = is_working || v->blocked_since == 0;
        if (now - m->began_at < PUBLISHER_BLOCKED_AFTER)
            continue;
        publish_queue_suspect(&v->entry, now);
        set_blocked(p, v, m->began_at);
    }
    return is_working;
}

static void set_check_timer(struct publisher *p)
{
    if (sd_event_source_set_time_relative(p->check_timer, PUBLISHER_BLOCKED_AFTER) < 0)
        return;
    p->is_checked = sd_event_source_set_enabled(p->check_timer, SD_EVENT_ONESHOT) >= 0;
}

/* Look after the threads: at the end of a step that may be blocked, and when one has ended. */
static void look_after_threads(struct publisher *p)
{
    join_ended(p);
    if (start_leader(p) < 0)
        log_debug("cannot start a publisher's thread; retrying");
    {
        LOCK_GUARD(&p->lock);
        if (!p->is_checked &&
            (check_threads(p, clock_mono()) || publisher_pool_needs_leader(&p->pool)))
            set_check_timer(p);
    }
}

static int on_check(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct publisher *p = userdata;

    {
        LOCK_GUARD(&p->lock);
        p->is_checked = false;
        check_threads(p, clock_mono());
    }
    look_after_threads(p);
    return 0;
}

/* ---- on the loop's thread */

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct publisher *p = userdata;
    struct publisher_result result;
    struct publisher_volume *v;
    struct list *link;
    eventfd_t count;

    eventfd_read(fd, &count);
    look_after_threads(p);
    write_trace(p);
    while (take_result(p, &v, &result)) {
        v->callbacks->done(v->userdata, &result);
        payload_unref(result.payload);
    }
    while ((link = take_first(p, &p->bound)) != NULL)
        report_bound(list_entry(link, struct publisher_volume, bound));
    while ((link = take_first(p, &p->changed_volumes)) != NULL)
        report_changed(list_entry(link, struct publisher_volume, changed));
    if (take_probed(p))
        p->probed(p->probed_userdata);
    return 0;
}

/* One whose timed waits use the clock of mono_us. */
static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attr);
    pthread_condattr_destroy(&attr);
}

static int publisher_start(struct publisher *p, sd_event *event, struct error *e)
{
    int r;

    p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->done_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot start the publisher");
    r = sd_event_add_io(event, &p->done_source, p->done_fd, EPOLLIN, on_done, p);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &p->check_timer, CLOCK_MONOTONIC, 0,
                                       PUBLISHER_BLOCKED_AFTER / 10, on_check, p);
    if (r >= 0)
        r = sd_event_source_set_enabled(p->check_timer, SD_EVENT_OFF);
    if (r < 0)
        return error_set_errno(e, r, "cannot start the publisher");
    r = start_leader(p);
    return r < 0 ? error_set_errno(e, r, "cannot start the publisher's thread") : 0;
}

static void publisher_release(struct publisher *p)
{
    p->mounts = mount_subscription_free(p->mounts);
    p->writers.live_mounts = live_mounts_free(p->writers.live_mounts);
    sd_event_source_disable_unref(p->done_source);
    sd_event_source_disable_unref(p->check_timer);
    fd_close(p->done_fd);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Thread: the monitor's. */
static void on_scanned(void *userdata)
{
    struct publisher *p = userdata;

    LOCK_GUARD(&p->lock);
    publish_queue_notify_scan(&p->queue);
    pthread_cond_broadcast(&p->changed);
}

static int watch_mounts(struct publisher *p, struct mount_monitor *monitor, struct error *e)
{
    int r;

    if (monitor == NULL)
        return 0;
    r = live_mounts_new(p->session, p->writers.tree, p->writers.answers_open,
                        &p->writers.live_mounts);
    if (r == 0)
        r = mount_subscription_new(monitor, session_device(p->session), on_scanned, p, &p->mounts);
    return r < 0 ? error_set_errno(e, r, "cannot watch mounts") : 0;
}

int publisher_new(sd_event *event, const struct publisher_options *options,
                  struct publisher **ret_publisher, struct error *e)
{
    struct publisher *p = calloc(1, sizeof(*p));
    int r;

    if (p == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the publisher");
    p->session = options->session;
    p->writers = (struct volume_writer_host){
        .session = options->session, .tree = options->tree, .answers_open = options->answers_open};
    p->done_fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    init_condition(&p->changed);
    list_init(&p->finished);
    list_init(&p->bound);
    list_init(&p->changed_volumes);
    publisher_pool_init(&p->pool);
    publish_queue_init(&p->queue, options->monitor != NULL && options->answers_open);
    r = watch_mounts(p, options->monitor, e);
    if (r == 0)
        r = publisher_start(p, event, e);
    if (r < 0) {
        publisher_release(p);
        return r;
    }
    *ret_publisher = p;
    return 0;
}

/* Wait on the condition; the lock is held. Return: false when @until has come. */
static bool wait_changed(struct publisher *p, mono_us until)
{
    if (clock_mono() >= until)
        return false;
    wait_for_work(p, until);
    return true;
}

static bool is_working(const struct publisher *p)
{
    const struct publisher_member *m;

    list_for_each (m, &p->pool.members, link)
        if (m->state == MEMBER_WORKING || m->state == MEMBER_BLOCKED)
            return true;
    return false;
}

/* Return: whether all threads are about to end. */
static bool stop_threads(struct publisher *p)
{
    mono_us until = clock_mono() + LOOP_WAIT;

    LOCK_GUARD(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->changed);
    while (is_working(p))
        if (!wait_changed(p, until))
            return false;
    return true;
}

/* No thread works on a step, so each of them ends. */
static void join_all(struct publisher *p)
{
    struct publisher_member *m, *tmp;

    list_for_each_safe (m, tmp, &p->pool.members, link) {
        struct publisher_thread *t = thread_of(m);

        pthread_join(t->thread, NULL);
        publisher_pool_remove(&p->pool, m);
        free(t);
    }
}

struct publisher *publisher_free(struct publisher *publisher)
{
    struct publisher *p = publisher;
    struct publish_entry *removed;

    if (p == NULL)
        return NULL;
    if (!stop_threads(p))
        return p;
    join_all(p);
    while ((removed = publish_queue_take_removed(&p->queue)) != NULL) {
        leave_group(p, volume_of(removed));
        volume_free(volume_of(removed)); /* its directory ends with the mount */
    }
    assert(publish_queue_is_empty(&p->queue));
    assert(list_is_empty(&p->finished) && list_is_empty(&p->bound) &&
           list_is_empty(&p->changed_volumes));
    assert(p->by_name == NULL && p->by_group == NULL);
    publisher_release(p);
    return NULL;
}

/* Takes the place of a removed volume of the name. Return: 0 or -ENOMEM. */
static int index_volume(struct publisher *p, struct publisher_volume *v, const char *group)
{
    struct publisher_volume **slot;

    LOCK_GUARD(&p->lock);
    if (join_group(p, v, group) < 0)
        return -ENOMEM;
    slot = tsearch(v, &p->by_name, compare_names);
    if (slot == NULL) {
        leave_group(p, v);
        return -ENOMEM;
    }
    *slot = v;
    return 0;
}

/*
 * Go on where an earlier process ended. What it was doing is finished as old generations are
 * removed, which the next update waits for.
 */
static int adopt_volume(struct publisher_volume *v, struct payload *shown)
{
    const struct publish_outcome outcome = {.leaves_old = true};
    struct publisher *p = v->publisher;
    int r = volume_writer_adopt(&v->writer, shown);

    if (r < 0)
        return r;
    LOCK_GUARD(&p->lock);
    publish_queue_published(&p->queue, &v->entry, outcome, clock_mono());
    pthread_cond_broadcast(&p->changed);
    return 0;
}

static int enter_volume(struct publisher_volume *v, const struct publisher_place *place)
{
    struct publisher *p = v->publisher;
    int r = index_volume(p, v, place->group);

    if (r < 0 || place->shown == NULL)
        return r;
    r = adopt_volume(v, place->shown);
    if (r == 0)
        return 0;
    LOCK_GUARD(&p->lock);
    tdelete(v, &p->by_name, compare_names);
    leave_group(p, v);
    return r;
}

int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks, void *userdata,
                         struct publisher_volume **ret_volume)
{
    struct publisher_volume *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL)
        return -ENOMEM;
    *v = (struct publisher_volume){.publisher = place->publisher,
                                   .callbacks = callbacks,
                                   .userdata = userdata,
                                   .target_fd = -1};
    if (volume_writer_init(&v->writer, &v->publisher->writers, place->name) < 0) {
        free(v);
        return -ENOMEM;
    }
    v->writer.dir.uid = place->uid;
    v->writer.dir.gid = place->gid;
    v->writer.dir.mode = place->mode;
    v->writer.changes_in_place = place->changes_in_place;
    publish_entry_init(&v->entry);
    list_init(&v->finished);
    list_init(&v->bound);
    list_init(&v->changed);
    r = enter_volume(v, place);
    if (r < 0) {
        volume_free(v);
        return r;
    }
    *ret_volume = v;
    return 0;
}

/*
 * The lock is held. Waits for a thread that uses the descriptor. If that is blocked the descriptor
 * stays open, as it could stand for another file otherwise.
 */
static void unbind(struct publisher *p, struct publisher_volume *v)
{
    mono_us until = clock_mono() + LOOP_WAIT;

    while (v->is_binding && wait_changed(p, until))
        ;
    publish_queue_cancel_bind(&p->queue, &v->entry);
    list_remove(&v->bound);
    v->target_fd = v->is_binding ? -1 : fd_close(v->target_fd);
}

void publisher_unbind(struct publisher_volume *volume)
{
    LOCK_GUARD(&volume->publisher->lock);
    unbind(volume->publisher, volume);
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    struct publisher_volume *v = volume;
    struct publisher_volume *const *found;
    struct publisher *p;

    if (v == NULL)
        return NULL;
    p = v->publisher;
    LOCK_GUARD(&p->lock);
    unbind(p, v);
    found = tfind(v, &p->by_name, compare_names);
    if (found != NULL && *found == v) /* and not the next one of the name */
        tdelete(v, &p->by_name, compare_names);
    list_remove(&v->finished);
    list_remove(&v->changed);
    publish_queue_remove(&p->queue, &v->entry);
    pthread_cond_broadcast(&p->changed);
    return NULL;
}

void publisher_bind(struct publisher_volume *volume, int target_fd_consumed,
                    unsigned long mount_attr, publisher_bound_fn *bound, void *userdata)
{
    struct publisher_volume *v = volume;
    struct publisher *p = v->publisher;

    assert(v->target_fd < 0 && target_fd_consumed >= 0);
    LOCK_GUARD(&p->lock);
    v->target_fd = target_fd_consumed;
    v->mount_attr = mount_attr;
    v->on_bound = bound;
    v->bound_userdata = userdata;
    publish_queue_bind(&p->queue, &v->entry);
    pthread_cond_broadcast(&p->changed);
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    struct publisher *p = volume->publisher;
    struct payload *replaced;

    assert(payload != NULL);
    {
        LOCK_GUARD(&p->lock);
        replaced = volume->pending;
        volume->pending = payload_ref(payload);
        volume->pending_received_at = received_at;
        publish_queue_submit(&p->queue, &volume->entry);
        pthread_cond_broadcast(&p->changed);
    }
    payload_unref(replaced);
}

struct publisher_mounted_parts publisher_mounted_parts(struct publisher_volume *volume)
{
    struct publisher *p = volume->publisher;

    LOCK_GUARD(&p->lock);
    return (struct publisher_mounted_parts){.n = volume->n_mounted_parts,
                                            .follow = p->writers.answers_open};
}

struct publisher_volume_state publisher_volume_state(const struct publisher_volume *volume)
{
    const struct publish_entry *entry = &volume->entry;
    struct publisher *p = volume->publisher;

    LOCK_GUARD(&p->lock);
    return (struct publisher_volume_state){
        .update = publish_update_name(entry->update),
        .old = publish_old_name(entry->old),
        .n_old = entry->n_old,
        .is_submitted = !list_is_empty(&entry->submitted),
        .is_binding = !list_is_empty(&entry->binding),
        .is_behind = !list_is_empty(&entry->behind),
        .is_active = entry->is_busy,
    };
}

mono_us publisher_blocked_since(struct publisher_volume *volume)
{
    LOCK_GUARD(&volume->publisher->lock);
    return volume->blocked_since;
}

size_t publisher_blocked_threads(struct publisher *publisher)
{
    LOCK_GUARD(&publisher->lock);
    return publisher->pool.n_blocked;
}

void publisher_probe(struct publisher *publisher, publisher_probed_fn *probed, void *userdata)
{
    struct publisher *p = publisher;

    LOCK_GUARD(&p->lock);
    p->probed = probed;
    p->probed_userdata = userdata;
    publish_queue_probe(&p->queue);
    pthread_cond_broadcast(&p->changed);
}
