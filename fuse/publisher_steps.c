/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread of the publisher: it leads, takes the next step of the publish queue, and performs it.
 * The lock is held but for the part of a step that makes system calls on the mount.
 */
#include "fuse/publisher_steps.h"

#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/descriptors.h"
#include "base/lock.h"
#include "fuse/publisher_state.h"

/* @v: NULL for none */
static void trace(struct publisher *p, const struct publish_trace_line *line,
                  const struct publisher_volume *v)
{
    if (publish_trace_add(&p->trace, line, v != NULL ? v->writer.dir.name : NULL))
        eventfd_write(p->done_fd, 1);
}

/* @v: NULL for none. A volume that is alone is not slow: there is no other one to wait for it. */
static enum publisher_step_kind kind_of_step(const struct publisher_volume *v, mono_us now)
{
    if (v == NULL)
        return PUBLISHER_STEP_OUTSIDE;
    if (publish_queue_is_suspect(&v->entry, now))
        return PUBLISHER_STEP_SUSPECT;
    if (publish_queue_is_slow(&v->entry, now) && v->publisher->n_volumes > 1)
        return PUBLISHER_STEP_SLOW;
    return PUBLISHER_STEP_USUAL;
}

/* Between the two the lock is given up, and @v (NULL for none) is the thread's. */
static void begin_work(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    mono_us now = clock_mono();

    assert(t->volume == NULL);
    t->volume = v;
    publisher_pool_begin(&p->pool, &t->member, kind_of_step(v, now), now);
    if (t->member.state == MEMBER_BLOCKED) {
        publisher_group_blocked(v);
        publisher_wake_leader(p);
    }
    if (publisher_pool_needs_leader(&p->pool) || (v != NULL && !p->is_checked))
        eventfd_write(p->done_fd, 1);
    pthread_mutex_unlock(&p->lock);
}

static void end_work(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;
    struct publisher_volume *v = t->volume;
    mono_us now = clock_mono();

    pthread_mutex_lock(&p->lock);
    t->volume = NULL;
    if (t->member.state == MEMBER_BLOCKED)
        publisher_group_returned(v);
    if (v != NULL) {
        if (now - t->member.began_at >= PUBLISHER_SLOW_AFTER)
            publish_queue_slow(&v->entry, now);
        publish_queue_done(&v->entry);
        v->directory_id = v->writer.dir.id;
        publisher_set_blocked(p, v, 0);
    }
    if (!publisher_pool_end(&p->pool, &t->member, now))
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
    if (v->result.is_visible) {
        v->result.directory_id = v->writer.dir.id;
        v->result.edition = v->writer.edition;
    }
    publisher_report(p, &p->finished, &v->finished);
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
    bool keeps = false;
    bool is_pending = p->writers.live_mounts != NULL &&
                      live_mounts_is_pending(p->writers.live_mounts, v->writer.dir.name, &keeps);
    int r = -EAGAIN;

    if (!keeps || !publish_queue_may_keep_old(&v->entry)) {
        begin_work(t, v);
        r = volume_writer_clean(&v->writer);
        end_work(t);
    } else
        publish_queue_done(&v->entry);
    publish_queue_cleaned(&p->queue, &v->entry, r, clock_mono());
    if (is_pending && !v->entry.is_removed)
        publish_queue_follow(&p->queue, &v->entry);
}

/* Fails when out of memory; with -ENOTCONN when the directory has gone with the mount. */
static void remove_volume(struct publisher_thread *t, struct publisher_volume *v)
{
    struct publisher *p = t->publisher;
    int r = 0;

    if (!v->keeps_directory) {
        begin_work(t, v);
        r = volume_writer_remove(&v->writer);
        end_work(t);
    }
    if (r < 0 && r != -ENOTCONN)
        publish_queue_removal_failed(&p->queue, &v->entry, clock_mono());
    else {
        publisher_leave_group(p, v);
        publisher_volume_free(v);
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
    kept_error_set(&v->bound_text, e.text);
    v->mount_id = mount_id;
    publisher_report(p, &p->bound, &v->bound);
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
    struct publisher_volume *found = publisher_find_volume(p, change->volume);

    if (found == NULL)
        return;
    if (found->n_mounted_parts != change->n_mounted) {
        found->n_mounted_parts = change->n_mounted;
        publisher_report(p, &p->changed_volumes, &found->changed);
    }
    if (change->needs_follow)
        publish_queue_follow(&p->queue, &found->entry);
    if (p->writers.answers_open && change->is_behind)
        publish_queue_catch_up(&p->queue, &found->entry, clock_mono());
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
    if (live_mounts_take_deferred(p->writers.live_mounts))
        live_mounts_visit_changed(p->writers.live_mounts, on_changed_mounts, p);
}

/* Between the halves of an update. */
static void look_after_draining(struct publisher *p, struct publisher_volume *v, mono_us now)
{
    publish_queue_set_drain(&v->entry, volume_writer_drain_until(&v->writer));
    publisher_let_opens(
        p, v, v->blocked_since != 0 || publish_queue_is_held_up(&p->queue, &v->entry, now));
}

/*
 * A scan's result is notified before its time is published (mount_monitor.c), and notifying takes
 * the lock: a thread that holds it and reads the time has been notified of that result.
 */
static struct publish_step next_step(struct publisher *p)
{
    struct publish_entry *e;

    publish_queue_defer(&p->queue, publisher_pool_is_full(&p->pool),
                        publisher_pool_is_full_of_slow(&p->pool));
    publish_queue_for_each_draining(e, &p->queue)
        look_after_draining(p, publisher_volume_of(e), clock_mono());
    if (p->mounts != NULL)
        publish_queue_set_scanned_at(&p->queue, mount_subscription_scanned_at(p->mounts));
    return publish_queue_next(&p->queue, clock_mono());
}

static void work(struct publisher_thread *t, const struct publish_step *step)
{
    struct publisher_volume *v = step->entry != NULL ? publisher_volume_of(step->entry) : NULL;
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
        publisher_wait(p, step->wait_until);
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

/* It waits for the workers: see descriptors_keep_own(). */
static void drop_descriptors(const struct publisher *p)
{
    int wake_fd = p->mounts != NULL ? mount_subscription_fd(p->mounts) : p->done_fd;
    int keep[] = {wake_fd < p->done_fd ? wake_fd : p->done_fd,
                  wake_fd < p->done_fd ? p->done_fd : wake_fd};

    descriptors_keep_own(keep, wake_fd == p->done_fd ? 1 : 2);
}

/* See publisher_pool.c. */
static void probe_before_leading(struct publisher_thread *t)
{
    begin_work(t, NULL);
    session_probe(t->publisher->session);
    end_work(t);
}

static void lead(struct publisher_thread *t)
{
    const struct publish_step step = next_step(t->publisher);

    work(t, &step);
}

/* Until it has to end: other threads lead and stand by, or the publisher stops. */
static void take_part(struct publisher_thread *t)
{
    struct publisher *p = t->publisher;

    LOCK_GUARD(&p->lock);
    while (!p->is_stopping && t->member.state != MEMBER_ENDED) {
        if (t->member.state == MEMBER_STANDBY)
            publisher_stand_by(t);
        else if (publisher_pool_take_probe(&t->member))
            probe_before_leading(t);
        else
            lead(t);
    }
}

void *publisher_steps_run(void *thread)
{
    struct publisher_thread *t = thread;
    struct publisher *p = t->publisher;

    drop_descriptors(p);
    pthread_setname_np(pthread_self(), "publisher");
    confinement_restrict_thread(CONFINEMENT_PUBLISHER); /* after unshare(2) */
    session_add_publisher(p->session, gettid());
    take_part(t);
    session_remove_publisher(p->session, gettid());
    return NULL;
}
