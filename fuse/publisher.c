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
 *    uses the loop's descriptor; to remove such a volume; and at the end. Each time it waits
 *    LOOP_WAIT at most, as the thread may be blocked.
 *
 * This file is the loop's half; publisher_steps.c is what the threads run.
 */
#include "fuse/publisher.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/privileged.h"
#include "base/thread.h"
#include "fuse/node.h"
#include "fuse/publisher_state.h"
#include "fuse/publisher_steps.h"

#define STACK_BYTES 262144u /* a few paths; the default would count against the lock limit */

#define LOOP_WAIT SPAN_SEC(5) /* far longer than a step that is not blocked */

static_assert(PUBLISHER_THREADS_MAX <= STAGES_MAX, "a stage for each thread");

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
    p->room -= update_room_bytes(&v->room);
    update_room_done(&v->room, ret_result->payload, p->writers.answers_open);
    p->room += update_room_bytes(&v->room);
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

static bool take_resume(struct publisher *p)
{
    bool must_resume;

    LOCK_GUARD(&p->lock);
    must_resume = p->must_resume;
    p->must_resume = false;
    return must_resume;
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
    struct error e = ERROR_INIT;

    error_set(&e, v->bound_error, "%s", kept_error_text(&v->bound_text));
    kept_error_clear(&v->bound_text);
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

/* Return: one that has ended, taken out of the pool; NULL if there is none. */
static struct publisher_thread *take_ended(struct publisher *p)
{
    struct publisher_member *m;

    LOCK_GUARD(&p->lock);
    list_for_each (m, &p->pool.members, link)
        if (m->state == MEMBER_ENDED) {
            publisher_pool_remove(&p->pool, m);
            return publisher_thread_of(m);
        }
    return NULL;
}

static void join_ended(struct publisher *p)
{
    struct publisher_thread *t;

    while ((t = take_ended(p)) != NULL) {
        pthread_join(t->thread, NULL);
        publisher_thread_free(t);
    }
}

/* By the privileged thread: a thread has the capabilities of the one that creates it. */
static int run_create(void *arguments)
{
    struct publisher_thread *t = arguments;

    return thread_start(&t->thread, STACK_BYTES, publisher_steps_run, t);
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
    t = publisher_thread_new(p);
    if (t == NULL)
        return -ENOMEM;
    publisher_pool_add(&p->pool, &t->member);
    r = privileged_call(run_create, t);
    if (r < 0) {
        publisher_pool_remove(&p->pool, &t->member);
        publisher_thread_free(t);
    }
    return r;
}

/* The lock is held. Note which volumes are blocked. Return: whether there are steps under way. */
static bool check_threads(struct publisher *p, mono_us now)
{
    struct publisher_member *blocked = publisher_pool_check(&p->pool, now), *m;
    bool is_working = false;

    if (blocked != NULL) {
        publisher_group_blocked(publisher_thread_of(blocked)->volume);
        publisher_wake_leader(p);
    }
    list_for_each (m, &p->pool.members, link) {
        struct publisher_volume *v = publisher_thread_of(m)->volume;

        if (v == NULL)
            continue;
        is_working = is_working || v->blocked_since == 0;
        if (now - m->began_at < PUBLISHER_BLOCKED_AFTER)
            continue;
        publish_queue_suspect(&v->entry, now);
        if (publisher_pool_note_blocked(&p->pool, m))
            pthread_cond_broadcast(&p->changed);
        publisher_set_blocked(p, v, m->began_at);
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
    if (take_resume(p))
        session_resume_opens(p->session);
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
    if (r == 0 && p->writers.answers_open)
        r = live_mounts_adopt(p->writers.live_mounts);
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
    condition_init(&p->changed);
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
    publisher_wait(p, until);
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
    struct publisher_member *m;

    LOCK_GUARD(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->changed);
    list_for_each (m, &p->pool.members, link)
        pthread_cond_signal(&publisher_thread_of(m)->gets_lead);
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
        struct publisher_thread *t = publisher_thread_of(m);

        pthread_join(t->thread, NULL);
        publisher_pool_remove(&p->pool, m);
        publisher_thread_free(t);
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
        publisher_leave_group(p, publisher_volume_of(removed));
        /* its directory ends with the mount, or is a leftover for the next process */
        publisher_volume_free(publisher_volume_of(removed));
    }
    assert(publish_queue_is_empty(&p->queue));
    assert(list_is_empty(&p->finished) && list_is_empty(&p->bound) &&
           list_is_empty(&p->changed_volumes));
    assert(p->by_name == NULL && p->by_group == NULL);
    publisher_release(p);
    return NULL;
}

/* The lock is held. A scan before this did not find the volume. */
static void adopt_mounted_parts(struct publisher *p, struct publisher_volume *v)
{
    v->n_mounted_parts = live_mounts_count(p->writers.live_mounts, v->writer.dir.name);
    if (v->n_mounted_parts == 0)
        return;
    publisher_report(p, &p->changed_volumes, &v->changed);
    publish_queue_catch_up(&p->queue, &v->entry, clock_mono());
}

/*
 * The lock is held. Go on where an earlier process ended. What it was doing is finished as old
 * generations are removed, or before the next update, if that does not wait for them.
 */
static void go_on(struct publisher *p, struct publisher_volume *v)
{
    const struct publish_outcome outcome = {.leaves_old = true};

    publish_queue_published(&p->queue, &v->entry, outcome, clock_mono());
    if (p->writers.answers_open && p->writers.live_mounts != NULL)
        adopt_mounted_parts(p, v);
    pthread_cond_broadcast(&p->changed);
}

/* A thread that has scanned the mounts works on each volume that it finds. Return: 0; -errno. */
static int enter_volume(struct publisher_volume *v, const struct publisher_place *place)
{
    struct publisher *p = v->publisher;
    int r = place->shown != NULL ? volume_writer_adopt(&v->writer, place->shown) : 0;

    if (r < 0)
        return r;
    LOCK_GUARD(&p->lock);
    v->directory_id = v->writer.dir.id;
    r = publisher_join_group(p, v, place->group);
    if (r < 0)
        return r;
    r = publisher_index_volume(p, v);
    if (r < 0)
        publisher_leave_group(p, v);
    else if (place->shown != NULL)
        go_on(p, v);
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
        publisher_volume_free(v);
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
    struct publisher *p;

    if (v == NULL)
        return NULL;
    p = v->publisher;
    LOCK_GUARD(&p->lock);
    unbind(p, v);
    publisher_unindex_volume(p, v);  /* and not the next one of the name */
    publisher_let_opens(p, v, true); /* its directory may be held */
    p->room -= update_room_bytes(&v->room);
    v->room = (struct update_room){.waiting = 0};
    list_remove(&v->finished);
    list_remove(&v->changed);
    publish_queue_remove(&p->queue, &v->entry);
    pthread_cond_broadcast(&p->changed);
    return NULL;
}

void publisher_keep_directory(struct publisher_volume *volume)
{
    LOCK_GUARD(&volume->publisher->lock);
    volume->keeps_directory = true;
}

int publisher_remove_leftover(struct publisher *publisher, const char *name)
{
    static const struct publisher_callbacks none;
    const struct publisher_place place = {.publisher = publisher, .name = name};
    struct publisher_volume *v = NULL;
    int r = publisher_add_volume(&place, &none, NULL, &v);

    if (r < 0)
        return r;
    r = volume_dir_adopt(&v->writer.dir); /* no step concerns it before it is removed */
    publisher_remove_volume(v);
    return r;
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

/* Return: bytes of all updates with this one, which is to be submitted. */
static uint64_t reserve(struct publisher_volume *v, const struct payload *payload)
{
    struct publisher *p = v->publisher;

    LOCK_GUARD(&p->lock);
    p->room -= update_room_bytes(&v->room);
    update_room_submit(&v->room, payload);
    return p->room += update_room_bytes(&v->room);
}

/* The journal has room before a thread can begin the update. */
void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    struct publisher *p = volume->publisher;
    struct payload *replaced;

    assert(payload != NULL);
    node_table_make_room(tree_nodes(p->writers.tree), reserve(volume, payload));
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
