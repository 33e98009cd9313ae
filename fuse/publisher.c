/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publisher.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/list.h"
#include "fuse/volume_writer.h"

/*
 * How long a reader may take from ..data to the file behind it; an undisturbed one takes some
 * microseconds, one that loses its processor some milliseconds. So long the old generation stays,
 * and so long the next update of the same volume waits. It is also what a watch on a key's own file
 * waits for its DELETE_SELF.
 */
#define CLEAN_AFTER SPAN_MS(10)
#define STACK_BYTES 262144u     /* a few paths; the default would count against the lock limit */
#define CLEAN_AGAIN SPAN_SEC(1) /* after a failure */

/*
 * What is mounted of an old generation has to be known before that goes, and a look at many mounts
 * takes its time (mount_monitor.c). An update does not wait for that. But when a volume has so many
 * old generations, each with the memory of a payload, it does.
 */
#define OLD_GENERATIONS_MAX 16u

#define LOOK_EVERY     SPAN_MS(2)  /* whether that has happened */
#define DRAIN_EVERY    200u        /* us: whether open files were read: live_switch.c */
#define CATCH_UP_AFTER SPAN_SEC(1) /* files that were left out of an update */

/*
 * A volume goes round: idle -> waiting (submitted) -> active (the thread works on it) -> finished
 * (the loop is to be told) -> idle. A payload submitted after "waiting" makes it wait once more.
 * Between waiting and active it may be draining, if it has live files that readers have just
 * opened.
 *
 * Its directory is made with its first payload. Once it is removed, its owner has forgotten it: the
 * thread removes the directory and frees it.
 */
struct publisher_volume {
    struct publisher *publisher;
    struct volume_writer writer; /* the thread's */
    mono_us update_received_at;  /* the same, of the update under way */
    const struct publisher_callbacks *callbacks;
    void *userdata;

    /* under the publisher's lock */
    struct list waiting; /* in publisher.waiting while there is something to publish */
    struct payload *pending;
    mono_us pending_received_at;
    struct list finished; /* in publisher.finished while the loop has not been told */
    struct publisher_result result;
    struct list cleaning; /* in publisher.cleaning while an old generation is to be removed */
    mono_us clean_at;
    unsigned n_old;       /* generations that are to be removed, at most */
    mono_us settled_at;   /* what was mounted of the old generation can be seen from then on */
    struct list draining; /* in publisher.draining */
    struct list behind;   /* in publisher.behind while live files have to catch up */
    mono_us catch_up_at;
    size_t n_lone_mounts;
    struct list counted; /* in publisher.counted while the loop has not been told */
    struct list binding; /* in publisher.binding while it is to be mounted in one more place */
    int target_fd;       /* the process's, not the thread's; -1 if there is none */
    unsigned long mount_attr;
    struct list bound; /* in publisher.bound while the loop has not been told */
    publisher_bound_fn *on_bound;
    void *bound_userdata;
    int bound_error;
    uint64_t mount_id;
    bool is_removed;
    bool is_catching_up;  /* the update under way is of live files alone; the thread's */
    bool clean_failed;    /* the last time */
    bool is_look_awaited; /* old generations could go, but for the look at mounts */
    struct error bound_text;
};

struct publisher {
    struct session *session;
    struct volume_writer_host writers; /* live_mounts is the thread's */
    struct mount_watch *watch;         /* NULL: nothing is known of mounts */
    pthread_t thread;
    int done_fd; /* eventfd: something is in finished */
    sd_event_source *done_source;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    void *by_name;        /* tsearch(3) tree of volumes */
    struct list removing; /* before anything else: a name may be wanted again */
    struct list binding;
    struct list waiting;
    struct list draining;
    struct list behind;
    struct list cleaning; /* by clean_at */
    struct list finished;
    struct list bound;
    struct list counted;
    struct publisher_volume *active;
    bool has_seen_mounts; /* there are news of what is mounted */
    bool is_stopping;
    bool is_to_be_probed;
    bool is_probed; /* and the loop has not been told */
    publisher_probed_fn *probed;
    void *probed_userdata;
};

/* ---- on the publisher's thread */

static void volume_free(struct publisher_volume *v)
{
    volume_writer_deinit(&v->writer);
    payload_unref(v->pending);
    payload_unref(v->result.payload);
    free(v);
}

/* The lock is held. Nearly always it is the last one, as the delay is nearly always the same. */
static void clean_later(struct publisher *p, struct publisher_volume *v, span_us delay)
{
    struct list *after;

    v->clean_at = clock_mono() + delay;
    list_remove(&v->cleaning);
    for (after = p->cleaning.prev; after != &p->cleaning; after = after->prev)
        if (list_entry(after, struct publisher_volume, cleaning)->clean_at <= v->clean_at)
            break;
    list_append(after->next, &v->cleaning); /* "append" puts it before its argument */
}

/* The lock is held. A result that the loop has not fetched yet is overtaken by the new one. */
static void finish(struct publisher *p, struct publisher_volume *v,
                   const struct publisher_result *result)
{
    payload_unref(v->result.payload);
    v->result = *result;
    list_remove(&v->finished);
    list_append(&p->finished, &v->finished);
    eventfd_write(p->done_fd, 1);
}

/* The lock is given up while the thread works on a volume. */
static void begin_work(struct publisher *p, struct publisher_volume *v)
{
    p->active = v;
    pthread_mutex_unlock(&p->lock);
}

static void end_work(struct publisher *p)
{
    pthread_mutex_lock(&p->lock);
    p->active = NULL;
    pthread_cond_broadcast(&p->changed);
}

/* The lock is held. */
static void note_behind(struct publisher *p, struct publisher_volume *v, span_us delay)
{
    v->catch_up_at = clock_mono() + delay;
    list_remove(&v->behind);
    list_append(&p->behind, &v->behind);
}

/* The lock is held, and given up meanwhile. The second half of an update, if there was a first. */
static void publish(struct publisher *p, struct publisher_volume *v,
                    struct publisher_result *result)
{
    bool is_partial = volume_writer_is_partial(&v->writer),
         had_generation = v->writer.has_generation;
    struct writer_result written = {.generation = ""};

    begin_work(p, v);
    if (result->error == 0)
        result->error = volume_writer_end(&v->writer, &written);
    end_work(p);
    result->is_visible = written.generation[0] != '\0';
    result->visible_at = written.visible_at;
    memcpy(result->generation, written.generation, sizeof(result->generation));
    if (v->is_removed) {
        payload_unref(result->payload);
        return;
    }
    finish(p, v, result);
    if (is_partial)
        note_behind(p, v, CATCH_UP_AFTER);
    if (result->error == 0 && !(had_generation && v->writer.makes_generation))
        return; /* nothing is to be removed */
    clean_later(p, v, CLEAN_AFTER);
    v->settled_at = v->clean_at;
    v->is_look_awaited = false;
    v->n_old++;
}

/* The lock is held. Return: whether readers that have just opened a live file are waited for. */
static bool is_draining(struct publisher *p, struct publisher_volume *v)
{
    if (volume_writer_drain_until(&v->writer) <= clock_mono())
        return false;
    if (list_is_empty(&v->draining))
        list_append(&p->draining, &v->draining);
    return true;
}

/* The lock is held, and given up meanwhile. */
static void end_draining(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_result result = {.received_at = v->update_received_at};

    list_remove(&v->draining);
    if (!v->is_catching_up) {
        result.payload = payload_ref(v->writer.update.payload);
        publish(p, v, &result);
        return;
    }
    begin_work(p, v);
    volume_writer_end_catching_up(&v->writer);
    end_work(p);
}

static void work_on_waiting(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_result result = {.payload = TAKE(v->pending),
                                      .received_at = v->pending_received_at};

    list_remove(&v->waiting);
    v->is_catching_up = false;
    v->update_received_at = v->pending_received_at;
    begin_work(p, v);
    result.error = volume_writer_begin(&v->writer, result.payload);
    end_work(p);
    if (result.error == 0 && !v->is_removed && is_draining(p, v))
        payload_unref(result.payload); /* the writer has a reference */
    else
        publish(p, v, &result);
}

/* Files that became live after the last update, or were left out of it. */
static void work_on_behind(struct publisher *p, struct publisher_volume *v)
{
    int r;

    list_remove(&v->behind);
    v->is_catching_up = true;
    begin_work(p, v);
    r = volume_writer_begin_catching_up(&v->writer);
    end_work(p);
    if (r == -ENOENT || v->is_removed)
        return;
    if (r < 0 || volume_writer_is_partial(&v->writer))
        note_behind(p, v, CATCH_UP_AFTER);
    if (r == 0 && !is_draining(p, v))
        end_draining(p, v);
}

/*
 * An old generation goes when it is known what is mounted of it.
 * Return: whether to wait for the next look at mounts.
 */
static bool is_too_early(struct publisher *p, struct publisher_volume *v)
{
    if (p->watch == NULL || !p->writers.answers_open || v->n_old >= OLD_GENERATIONS_MAX ||
        (mount_watch_seen_at(p->watch) >= v->settled_at && !p->has_seen_mounts))
        return false;
    mount_watch_request(p->watch);
    clean_later(p, v, LOOK_EVERY);
    v->is_look_awaited = true;
    return true;
}

static void work_on_cleaning(struct publisher *p, struct publisher_volume *v)
{
    int r;

    if (is_too_early(p, v))
        return;
    list_remove(&v->cleaning);
    v->is_look_awaited = false;
    begin_work(p, v);
    r = volume_writer_clean(&v->writer);
    end_work(p);
    v->clean_failed = r < 0;
    if (r == 0)
        v->n_old = 0;
    if (r < 0 && r != -ENOTCONN && !v->is_removed)
        clean_later(p, v, CLEAN_AGAIN);
}

static int compare_names(const void *a, const void *b)
{
    const struct publisher_volume *x = a, *y = b;

    return strcmp(x->writer.name, y->writer.name);
}

/* The lock is held. */
static void count_lone_mounts(struct publisher *p, struct publisher_volume *v)
{
    size_t n = live_mounts_count(p->writers.live_mounts, v->writer.name);

    if (n == v->n_lone_mounts)
        return;
    v->n_lone_mounts = n;
    list_remove(&v->counted);
    list_append(&p->counted, &v->counted);
    eventfd_write(p->done_fd, 1);
}

/* The lock is held. */
static void on_changed_mounts(void *userdata, const char *name)
{
    struct publisher *p = userdata;
    char *mutable_name = strdupa(name);
    const struct publisher_volume like = {.writer = {.name = mutable_name}};
    struct publisher_volume *const *found = tfind(&like, &p->by_name, compare_names);

    if (found == NULL)
        return;
    count_lone_mounts(p, *found);
    if (p->writers.answers_open && live_mounts_take_behind(p->writers.live_mounts, name))
        note_behind(p, *found, 0);
}

static void reconcile_mounts(struct publisher *p)
{
    struct lone_mounts seen = {0};
    int root_fd;

    if (!mount_watch_take(p->watch, &seen))
        return;
    if (session_begin_write(p->session, &root_fd) == 0) {
        if (live_mounts_reconcile(p->writers.live_mounts, root_fd, &seen))
            mount_watch_look_again(p->watch);
        session_end_write(p->session, root_fd);
    }
    lone_mounts_deinit(&seen);
}

/* The lock is held, and given up meanwhile. */
static void work_on_mounts(struct publisher *p)
{
    p->has_seen_mounts = false;
    begin_work(p, NULL);
    reconcile_mounts(p);
    end_work(p);
    live_mounts_visit_changed(p->writers.live_mounts, on_changed_mounts, p);
}

static void work_on_binding(struct publisher *p, struct publisher_volume *v)
{
    struct error e = ERROR_INIT;
    uint64_t mount_id = 0;
    int r;

    list_remove(&v->binding);
    begin_work(p, v);
    r = session_bind(p->session, v->writer.name, v->target_fd, v->mount_attr, &mount_id, &e);
    end_work(p);
    v->bound_error = r;
    v->bound_text = e;
    v->mount_id = mount_id;
    list_append(&p->bound, &v->bound);
    eventfd_write(p->done_fd, 1);
}

/* What cannot be removed, for want of memory, is tried again later. */
static void work_on_removing(struct publisher *p, struct publisher_volume *v)
{
    int r;

    list_remove(&v->waiting);
    begin_work(p, v);
    r = volume_writer_remove(&v->writer);
    end_work(p);
    if (r < 0 && r != -ENOTCONN)
        clean_later(p, v, CLEAN_AGAIN);
    else
        volume_free(v);
}

static void remove_again(struct publisher *p, struct publisher_volume *v)
{
    list_remove(&v->cleaning);
    list_append(&p->removing, &v->waiting);
}

static struct publisher_volume *first_of(const struct list *list, size_t offset)
{
    return list_is_empty(list) ? NULL
                               : (struct publisher_volume *)(void *)((char *)list->next - offset);
}
#define FIRST_OF(list, member) first_of(list, offsetof(struct publisher_volume, member))

/* Whether nothing of a volume is in the way of an update, so that readers get their time. */
static bool may_be_published(const struct publisher_volume *v)
{
    if (!list_is_empty(&v->draining))
        return false;
    return list_is_empty(&v->cleaning) || v->clean_failed ||
           (v->is_look_awaited && v->n_old < OLD_GENERATIONS_MAX);
}

/*
 * The lock is held. Return: the first volume that waits and may be published, or NULL. One that has
 * an old generation to be removed is left alone until that was tried; those are as many as can be
 * published in that time.
 */
static struct publisher_volume *first_to_publish(struct publisher *p)
{
    struct publisher_volume *v;

    list_for_each (v, &p->waiting, waiting)
        if (may_be_published(v))
            return v;
    return NULL;
}

static void wait_until(struct publisher *p, mono_us point)
{
    const struct timespec t = {.tv_sec = (time_t)(point / 1000000),
                               .tv_nsec = (long)(point % 1000000) * 1000};

    pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

/*
 * A descriptor table of this thread's own, with little in it. When the process is killed while a
 * worker has taken a request of ours, nobody answers it until the kernel ends the connection, which
 * it does when the device is closed for good. Were the device in our table as well, it would stay
 * open for as long as we wait, that is, for ever: a process that SIGKILL cannot end. Nor may a
 * terminal or a pipe stay here that the process has let go; a log file may.
 */
static void leave_descriptors(const struct publisher *p)
{
    int wake_fd = p->watch != NULL ? mount_watch_fd(p->watch) : p->done_fd;
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

static void work_on_probe(struct publisher *p)
{
    p->is_to_be_probed = false;
    begin_work(p, NULL);
    session_probe(p->session);
    end_work(p);
    p->is_probed = true;
    eventfd_write(p->done_fd, 1);
}

/* The lock is held. Return: the first volume whose live files may be switched now, or NULL. */
static struct publisher_volume *first_drained(struct publisher *p)
{
    struct publisher_volume *v;

    list_for_each (v, &p->draining, draining)
        if (!is_draining(p, v))
            return v;
    return NULL;
}

/* The lock is held. */
static struct publisher_volume *first_to_catch_up(struct publisher *p)
{
    struct publisher_volume *v;

    list_for_each (v, &p->behind, behind)
        if (v->catch_up_at <= clock_mono() && list_is_empty(&v->draining))
            return v;
    return NULL;
}

/* The lock is held. Return: whether there was anything to do. */
static bool work_on_something(struct publisher *p)
{
    struct publisher_volume *v;

    if (p->is_to_be_probed)
        work_on_probe(p);
    else if ((v = FIRST_OF(&p->removing, waiting)) != NULL)
        work_on_removing(p, v);
    else if ((v = FIRST_OF(&p->binding, binding)) != NULL)
        work_on_binding(p, v);
    else if ((v = first_drained(p)) != NULL)
        end_draining(p, v);
    else if (p->has_seen_mounts)
        work_on_mounts(p);
    else if ((v = first_to_publish(p)) != NULL)
        work_on_waiting(p, v);
    else if ((v = first_to_catch_up(p)) != NULL)
        work_on_behind(p, v);
    else if ((v = FIRST_OF(&p->cleaning, cleaning)) == NULL || v->clean_at > clock_mono())
        return false;
    else if (v->is_removed)
        remove_again(p, v);
    else
        work_on_cleaning(p, v);
    return true;
}

static mono_us earlier(mono_us a, mono_us b)
{
    return a < b ? a : b;
}

static void wait_for_work(struct publisher *p)
{
    const struct publisher_volume *unclean = FIRST_OF(&p->cleaning, cleaning), *v;
    mono_us next = unclean != NULL ? unclean->clean_at : SPAN_FOREVER;

    list_for_each (v, &p->behind, behind)
        if (list_is_empty(&v->draining))
            next = earlier(next, v->catch_up_at);
    if (!list_is_empty(&p->draining))
        next = earlier(next, clock_mono() + DRAIN_EVERY);
    if (next == SPAN_FOREVER)
        pthread_cond_wait(&p->changed, &p->lock);
    else
        wait_until(p, next);
}

static void *publisher_main(void *userdata)
{
    struct publisher *p = userdata;

    leave_descriptors(p);
    pthread_setname_np(pthread_self(), "publisher");
    session_set_publisher(p->session, gettid());
    pthread_mutex_lock(&p->lock);
    while (!p->is_stopping)
        if (!work_on_something(p))
            wait_for_work(p);
    pthread_mutex_unlock(&p->lock);
    session_set_publisher(p->session, 0);
    return NULL;
}

/* ---- on the loop's thread */

static bool take_result(struct publisher *p, struct publisher_volume **ret_volume,
                        struct publisher_result *ret_result)
{
    bool found;

    pthread_mutex_lock(&p->lock);
    found = !list_is_empty(&p->finished);
    if (found) {
        struct publisher_volume *v =
            list_entry(p->finished.next, struct publisher_volume, finished);

        list_remove(&v->finished);
        *ret_volume = v;
        *ret_result = v->result;
        v->result = (struct publisher_result){0};
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Return: a volume of which the loop is to be told that it is bound, or not; NULL if there is none.
 */
static struct publisher_volume *take_bound(struct publisher *p)
{
    struct publisher_volume *v;

    pthread_mutex_lock(&p->lock);
    v = FIRST_OF(&p->bound, bound);
    if (v != NULL)
        list_remove(&v->bound);
    pthread_mutex_unlock(&p->lock);
    return v;
}

/* The same, of which it is to be told how much is mounted alone. */
static struct publisher_volume *take_counted(struct publisher *p)
{
    struct publisher_volume *v;

    pthread_mutex_lock(&p->lock);
    v = FIRST_OF(&p->counted, counted);
    if (v != NULL)
        list_remove(&v->counted);
    pthread_mutex_unlock(&p->lock);
    return v;
}

static void tell_bound(struct publisher_volume *v)
{
    const struct error e = v->bound_text;

    v->target_fd = fd_close(v->target_fd);
    v->on_bound(v->bound_userdata, v->bound_error, v->mount_id, &e);
}

static void tell_probed(struct publisher *p)
{
    bool is_probed;

    pthread_mutex_lock(&p->lock);
    is_probed = p->is_probed;
    p->is_probed = false;
    pthread_mutex_unlock(&p->lock);
    if (is_probed)
        p->probed(p->probed_userdata);
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct publisher *p = userdata;
    struct publisher_volume *v;
    struct publisher_result result;
    eventfd_t count;

    eventfd_read(fd, &count);
    while (take_result(p, &v, &result)) {
        v->callbacks->done(v->userdata, &result);
        payload_unref(result.payload);
    }
    while ((v = take_bound(p)) != NULL)
        tell_bound(v);
    while ((v = take_counted(p)) != NULL)
        if (v->callbacks->lone_mounts != NULL)
            v->callbacks->lone_mounts(v->userdata);
    tell_probed(p);
    return 0;
}

/* One that waits by the clock of mono_us. */
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
    pthread_attr_t attr;
    int r;

    p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->done_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot start the publisher");
    r = sd_event_add_io(event, &p->done_source, p->done_fd, EPOLLIN, on_done, p);
    if (r < 0)
        return error_set_errno(e, r, "cannot start the publisher");
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    r = pthread_create(&p->thread, &attr, publisher_main, p);
    pthread_attr_destroy(&attr);
    return r == 0 ? 0 : error_set_errno(e, -r, "cannot start the publisher's thread");
}

static void publisher_release(struct publisher *p)
{
    p->watch = mount_watch_free(p->watch);
    p->writers.live_mounts = live_mounts_free(p->writers.live_mounts);
    sd_event_source_disable_unref(p->done_source);
    fd_close(p->done_fd);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Thread: the monitor's. */
static void on_mounts_seen(void *userdata)
{
    struct publisher *p = userdata;

    pthread_mutex_lock(&p->lock);
    p->has_seen_mounts = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static int watch_mounts(struct publisher *p, struct mount_monitor *monitor, struct error *e)
{
    int r;

    if (monitor == NULL)
        return 0;
    r = live_mounts_new(p->session, p->writers.tree, p->writers.answers_open,
                        &p->writers.live_mounts);
    if (r == 0)
        r = mount_watch_new(monitor, session_device(p->session), on_mounts_seen, p, &p->watch);
    return r < 0 ? error_set_errno(e, r, "cannot watch what is mounted") : 0;
}

static void init_lists(struct publisher *p)
{
    struct list *const lists[] = {&p->removing, &p->binding,  &p->waiting, &p->draining, &p->behind,
                                  &p->cleaning, &p->finished, &p->bound,   &p->counted};

    for (size_t i = 0; i < ELEMENTS_OF(lists); i++)
        list_init(lists[i]);
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
    init_lists(p);
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

/* Their directories go with the mount. */
static void free_removed(struct publisher *p)
{
    struct publisher_volume *v;

    while ((v = FIRST_OF(&p->removing, waiting)) != NULL) {
        list_remove(&v->waiting);
        volume_free(v);
    }
    while ((v = FIRST_OF(&p->cleaning, cleaning)) != NULL) {
        assert(v->is_removed);
        list_remove(&v->cleaning);
        volume_free(v);
    }
}

struct publisher *publisher_free(struct publisher *publisher)
{
    struct publisher *p = publisher;

    if (p == NULL)
        return NULL;
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    free_removed(p);
    assert(list_is_empty(&p->waiting) && list_is_empty(&p->finished));
    publisher_release(p);
    return NULL;
}

/* In the place of one of the name that is about to be removed. Return: 0 or -ENOMEM. */
static int index_volume(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_volume **slot;

    pthread_mutex_lock(&p->lock);
    slot = tsearch(v, &p->by_name, compare_names);
    if (slot != NULL)
        *slot = v;
    pthread_mutex_unlock(&p->lock);
    return slot != NULL ? 0 : -ENOMEM;
}

/* The lock is held. */
static void unindex_volume(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_volume *const *found = tfind(v, &p->by_name, compare_names);

    if (found != NULL && *found == v)
        tdelete(v, &p->by_name, compare_names);
}

int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks, void *userdata,
                         struct publisher_volume **ret_volume)
{
    struct publisher_volume *v = calloc(1, sizeof(*v));

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
    v->writer.uid = place->uid;
    v->writer.gid = place->gid;
    v->writer.mode = place->mode;
    v->writer.changes_in_place = place->changes_in_place;
    list_init(&v->waiting);
    list_init(&v->finished);
    list_init(&v->draining);
    list_init(&v->behind);
    list_init(&v->cleaning);
    list_init(&v->binding);
    list_init(&v->bound);
    list_init(&v->counted);
    if (index_volume(v->publisher, v) < 0) {
        volume_free(v);
        return -ENOMEM;
    }
    *ret_volume = v;
    return 0;
}

/* The lock is held. Waits for the thread, lest the descriptor that it uses is somebody else's. */
static void unbind(struct publisher *p, struct publisher_volume *v)
{
    while (p->active == v && v->target_fd >= 0)
        pthread_cond_wait(&p->changed, &p->lock);
    list_remove(&v->binding);
    list_remove(&v->bound);
    v->target_fd = fd_close(v->target_fd);
}

void publisher_unbind(struct publisher_volume *volume)
{
    struct publisher *p = volume->publisher;

    pthread_mutex_lock(&p->lock);
    unbind(p, volume);
    pthread_mutex_unlock(&p->lock);
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    struct publisher_volume *v = volume;
    struct publisher *p;

    if (v == NULL)
        return NULL;
    p = v->publisher;
    pthread_mutex_lock(&p->lock);
    unbind(p, v);
    v->is_removed = true;
    unindex_volume(p, v);
    list_remove(&v->waiting);
    list_remove(&v->finished);
    list_remove(&v->draining);
    list_remove(&v->behind);
    list_remove(&v->counted);
    list_remove(&v->cleaning);
    list_append(&p->removing, &v->waiting);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void publisher_bind(struct publisher_volume *volume, int target_fd_consumed,
                    unsigned long mount_attr, publisher_bound_fn *bound, void *userdata)
{
    struct publisher_volume *v = volume;
    struct publisher *p = v->publisher;

    assert(v->target_fd < 0);
    pthread_mutex_lock(&p->lock);
    v->target_fd = target_fd_consumed;
    v->mount_attr = mount_attr;
    v->on_bound = bound;
    v->bound_userdata = userdata;
    list_append(&p->binding, &v->binding);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    struct publisher *p = volume->publisher;
    struct payload *overtaken;

    pthread_mutex_lock(&p->lock);
    overtaken = volume->pending;
    volume->pending = payload_ref(payload);
    volume->pending_received_at = received_at;
    if (overtaken == NULL)
        list_append(&p->waiting, &volume->waiting);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    payload_unref(overtaken);
}

struct publisher_lone_mounts publisher_lone_mounts(struct publisher_volume *volume)
{
    struct publisher *p = volume->publisher;
    struct publisher_lone_mounts mounts = {.follow = p->writers.answers_open};

    pthread_mutex_lock(&p->lock);
    mounts.n = volume->n_lone_mounts;
    pthread_mutex_unlock(&p->lock);
    return mounts;
}

void publisher_probe(struct publisher *publisher, publisher_probed_fn *probed, void *userdata)
{
    struct publisher *p = publisher;

    pthread_mutex_lock(&p->lock);
    p->probed = probed;
    p->probed_userdata = userdata;
    p->is_to_be_probed = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}
