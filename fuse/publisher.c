/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publisher.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/list.h"
#include "fuse/live_mounts.h"
#include "fuse/live_update.h"

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
#define DRAIN_EVERY    200u        /* us: whether open files were read, see live_file.c */
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
    struct list link; /* in publisher.volumes; under the lock */
    char *name;       /* of its directory, "." for the root */
    uid_t uid;
    gid_t gid;
    mode_t mode;
    bool changes_in_place;
    /* the thread's */
    uint64_t dir_id; /* 0 before it is made */
    bool has_generation;
    struct payload *current;   /* what it shows, if it may have live files */
    struct live_update update; /* while it is draining or active */
    bool is_new_generation;    /* that the update makes */
    bool is_catching_up;       /* the update is of live files alone */
    mono_us update_received_at;
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
    bool clean_failed;    /* the last time */
    bool is_look_awaited; /* they could go, but for the look at mounts */
    unsigned n_old;       /* generations that are to be removed, at most */
    mono_us settled_at;   /* what was mounted of the old generation can be seen from then on */
    struct list draining; /* in publisher.draining */
    struct list behind;   /* in publisher.behind while live files have to catch up */
    mono_us catch_up_at;
    size_t n_lone_mounts;
    struct list counted; /* in publisher.counted while the loop has not been told */
    bool is_removed;
    struct list binding; /* in publisher.binding while it is to be mounted in one more place */
    int target_fd;       /* the process's, not the thread's; -1 if there is none */
    unsigned long mount_attr;
    struct list bound; /* in publisher.bound while the loop has not been told */
    publisher_bound_fn *on_bound;
    void *bound_userdata;
    int bound_error;
    uint64_t mount_id;
    struct error bound_text;
};

struct publisher {
    struct session *session;
    struct tree *tree;
    bool answers_open;
    struct mount_watch *watch;       /* NULL: nothing is known of mounts */
    struct live_mounts *live_mounts; /* the thread's */
    pthread_t thread;
    int done_fd; /* eventfd: something is in finished */
    sd_event_source *done_source;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct list volumes;
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

static int set_attributes(const struct publisher_volume *v, int root_fd, struct stat *ret_status)
{
    if (fchownat(root_fd, v->name, v->uid, v->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(root_fd, v->name, v->mode, 0) < 0 ||
        fstatat(root_fd, v->name, ret_status, AT_SYMLINK_NOFOLLOW) < 0)
        return negative_errno();
    return 0;
}

/* Fails with -EEXIST while one of the same name is still to be removed. */
static int make_directory(struct publisher_volume *v, int root_fd)
{
    struct stat status;
    int r;

    if (mkdirat(root_fd, v->name, 0700) < 0)
        return negative_errno();
    r = set_attributes(v, root_fd, &status);
    if (r < 0)
        (void)unlinkat(root_fd, v->name, AT_REMOVEDIR);
    else
        v->dir_id = status.st_ino;
    return r;
}

/* The volume's directory in the writable view. Return: 0, to be ended with end_write(); -errno. */
static int begin_write(struct publisher_volume *v, int *ret_root_fd, int *ret_dir_fd)
{
    struct session *session = v->publisher->session;
    int r = session_begin_write(session, ret_root_fd);

    if (r < 0)
        return r;
    r = v->dir_id == 0 ? make_directory(v, *ret_root_fd) : 0;
    if (r == 0) {
        *ret_dir_fd = openat(*ret_root_fd, v->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_dir_fd >= 0)
            return 0;
        r = negative_errno();
    }
    session_end_write(session, *ret_root_fd);
    return r;
}

static void end_write(struct publisher_volume *v, int root_fd, int dir_fd)
{
    (void)fd_close(dir_fd);
    session_end_write(v->publisher->session, root_fd);
}

/* ---- what is live of a volume */

struct collection {
    struct publisher_volume *volume;
    int result;
};

/* What is mounted alone of a generation that changes in place is part of that already. */
static bool collect_mount(void *userdata, const struct live_mount *mount)
{
    struct collection *c = userdata;
    const struct publisher_volume *v = c->volume;
    struct stat status;

    if (v->changes_in_place && tree_stat(v->publisher->tree, mount->id, &status) == 0 &&
        status.st_nlink > 0 && !mount->is_directory)
        return true;
    c->result = live_update_add(&c->volume->update, mount);
    return c->result == 0;
}

/* Return: 0; -ENOENT before the first publish; -ENOMEM. */
static int add_current(struct publisher_volume *v)
{
    _cleanup_(freep) char *name = NULL, *location = NULL;
    struct live_mount mount = {.path = "", .is_directory = true};
    int r = writer_find_current(v->publisher->tree, v->dir_id, &name, &mount.id);

    if (r < 0)
        return r;
    if (asprintf(&location, "%s%s%s", streq(v->name, ".") ? "" : v->name,
                 streq(v->name, ".") ? "" : "/", name) < 0) {
        location = NULL;
        return -ENOMEM;
    }
    mount.location = location;
    return live_update_add(&v->update, &mount);
}

static int collect_live(struct publisher_volume *v, struct payload *payload)
{
    struct collection collection = {.volume = v};
    struct publisher *p = v->publisher;
    int r = 0;

    live_update_deinit(&v->update);
    live_update_init(&v->update, p->session, p->tree, payload);
    if (!v->is_new_generation)
        r = add_current(v);
    if (r == -ENOENT) {
        v->is_new_generation = true;
        r = 0;
    }
    if (r == 0 && p->live_mounts != NULL)
        live_mounts_visit(p->live_mounts, v->name, collect_mount, &collection);
    return r == 0 ? collection.result : r;
}

static int begin_live(struct publisher_volume *v, struct payload *payload, int root_fd)
{
    int r;

    v->is_new_generation = !v->changes_in_place;
    r = collect_live(v, payload);
    if (r == 0)
        r = live_update_begin(&v->update, root_fd);
    if ((r != -EEXIST && r != -ENOTDIR) || v->is_new_generation)
        return r;
    v->is_new_generation = true; /* a file is to become a directory, or the reverse */
    r = collect_live(v, payload);
    return r == 0 ? live_update_begin(&v->update, root_fd) : r;
}

/* The first half of an update. Return: 0; -errno. */
static int begin_update(struct publisher_volume *v, struct payload *payload)
{
    int root_fd = -1, dir_fd = -1;
    int r;

    v->is_new_generation = true;
    if (!v->publisher->answers_open)
        return 0;
    r = begin_write(v, &root_fd, &dir_fd);
    if (r < 0)
        return r;
    r = begin_live(v, payload, root_fd);
    end_write(v, root_fd, dir_fd);
    return r;
}

/* The second. */
static int end_update(struct publisher_volume *v, struct payload *payload,
                      struct writer_result *ret_written)
{
    const struct writer_options options = {.is_live = v->changes_in_place,
                                           .live_switch = v->update.live_switch};
    struct tree *tree = v->publisher->tree;
    int root_fd = -1, dir_fd = -1;
    int r = begin_write(v, &root_fd, &dir_fd);

    if (r < 0)
        return r;
    r = v->is_new_generation
            ? writer_publish(tree, dir_fd, v->dir_id, payload, &options, ret_written)
            : writer_refresh(tree, dir_fd, v->dir_id, payload, &options, ret_written);
    if (ret_written->generation[0] != '\0' && options.live_switch != NULL)
        live_update_end(&v->update, root_fd);
    end_write(v, root_fd, dir_fd);
    return r;
}

/* Live files alone get what the volume shows already. */
static void end_catching_up(struct publisher_volume *v)
{
    int root_fd = -1, dir_fd = -1;

    if (begin_write(v, &root_fd, &dir_fd) < 0)
        return;
    live_switch_commit(v->publisher->tree, v->update.live_switch);
    live_update_end(&v->update, root_fd);
    end_write(v, root_fd, dir_fd);
}

static int clean(struct publisher_volume *v)
{
    int root_fd = -1, dir_fd = -1;
    int r = begin_write(v, &root_fd, &dir_fd);

    if (r < 0)
        return r;
    r = writer_clean(v->publisher->tree, dir_fd, v->dir_id);
    end_write(v, root_fd, dir_fd);
    return r;
}

static int remove_directory(struct publisher_volume *v)
{
    struct session *session = v->publisher->session;
    int root_fd, r;

    if (v->dir_id == 0 || v->dir_id == TREE_ROOT_ID)
        return 0;
    r = session_begin_write(session, &root_fd);
    if (r < 0)
        return r;
    r = writer_remove(v->publisher->tree, root_fd, v->name);
    session_end_write(session, root_fd);
    return r;
}

static void volume_free(struct publisher_volume *v)
{
    live_update_deinit(&v->update);
    (void)payload_unref(v->current);
    (void)payload_unref(v->pending);
    (void)payload_unref(v->result.payload);
    free(v->name);
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
    (void)payload_unref(v->result.payload);
    v->result = *result;
    list_remove(&v->finished);
    list_append(&p->finished, &v->finished);
    (void)eventfd_write(p->done_fd, 1);
}

/* The lock is given up while the thread works on a volume. */
static void begin_work(struct publisher *p, struct publisher_volume *v)
{
    p->active = v;
    (void)pthread_mutex_unlock(&p->lock);
}

static void end_work(struct publisher *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->active = NULL;
    (void)pthread_cond_broadcast(&p->changed);
}

/* The lock is held. */
static void note_behind(struct publisher *p, struct publisher_volume *v, span_us delay)
{
    v->catch_up_at = clock_mono() + delay;
    list_remove(&v->behind);
    list_append(&p->behind, &v->behind);
}

/* The lock is held. Return: whether a generation is left that is to be removed. */
static bool note_published(struct publisher *p, struct publisher_volume *v,
                           const struct publisher_result *result)
{
    bool is_old_left = (v->has_generation && v->is_new_generation) || result->error < 0;

    v->has_generation |= result->is_visible;
    if (p->answers_open && result->is_visible) {
        (void)payload_unref(v->current);
        v->current = payload_ref(result->payload);
    }
    return is_old_left;
}

/* The lock is held, and given up meanwhile. */
static void publish(struct publisher *p, struct publisher_volume *v,
                    struct publisher_result *result)
{
    struct writer_result written = {.generation = ""};
    bool is_partial = live_update_is_partial(&v->update);

    begin_work(p, v);
    if (result->error == 0)
        result->error = end_update(v, result->payload, &written);
    live_update_deinit(&v->update);
    result->is_visible = written.generation[0] != '\0';
    result->visible_at = written.visible_at;
    (void)memcpy(result->generation, written.generation, sizeof(result->generation));
    end_work(p);
    if (v->is_removed) {
        (void)payload_unref(result->payload);
        return;
    }
    finish(p, v, result);
    if (is_partial)
        note_behind(p, v, CATCH_UP_AFTER);
    if (!note_published(p, v, result))
        return; /* the first one: nothing is to be removed, and none of it can be mounted */
    clean_later(p, v, CLEAN_AFTER);
    v->settled_at = v->clean_at;
    v->is_look_awaited = false;
    v->n_old++;
}

/* The lock is held. Return: whether readers that have just opened a live file are waited for. */
static bool is_draining(struct publisher *p, struct publisher_volume *v)
{
    if (live_update_drain_until(&v->update) <= clock_mono())
        return false;
    if (list_is_empty(&v->draining))
        list_append(&p->draining, &v->draining);
    return true;
}

/* The lock is held. Both halves of the update are done, or its files are draining in between. */
static void end_draining(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_result result = {.payload = payload_ref(v->update.payload),
                                      .received_at = v->update_received_at};

    list_remove(&v->draining);
    if (!v->is_catching_up) {
        publish(p, v, &result);
        return;
    }
    (void)payload_unref(result.payload);
    begin_work(p, v);
    end_catching_up(v);
    live_update_deinit(&v->update);
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
    result.error = begin_update(v, result.payload);
    end_work(p);
    if (result.error < 0 || v->update.live_switch == NULL) {
        publish(p, v, &result);
        return;
    }
    (void)payload_unref(result.payload); /* the update has a reference */
    if (v->is_removed || !is_draining(p, v))
        end_draining(p, v);
}

/* Files that became live after the last update, or were left out of it. */
static void work_on_behind(struct publisher *p, struct publisher_volume *v)
{
    int r;

    list_remove(&v->behind);
    if (v->current == NULL)
        return;
    v->is_catching_up = true;
    begin_work(p, v);
    r = begin_update(v, v->current);
    end_work(p);
    if (r < 0 || live_update_is_partial(&v->update))
        note_behind(p, v, CATCH_UP_AFTER);
    if (r == 0 && (v->is_removed || !is_draining(p, v)))
        end_draining(p, v);
}

/*
 * An old generation goes when it is known what is mounted of it.
 * Return: whether to wait for the next look at mounts.
 */
static bool is_too_early(struct publisher *p, struct publisher_volume *v)
{
    if (p->watch == NULL || !p->answers_open || v->n_old >= OLD_GENERATIONS_MAX ||
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
    r = clean(v);
    end_work(p);
    v->clean_failed = r < 0;
    if (r == 0)
        v->n_old = 0;
    if (r < 0 && r != -ENOTCONN && !v->is_removed)
        clean_later(p, v, CLEAN_AGAIN);
}

/* The lock is held. */
static void count_lone_mounts(struct publisher *p, struct publisher_volume *v)
{
    size_t n = live_mounts_count(p->live_mounts, v->name);

    if (n == v->n_lone_mounts)
        return;
    v->n_lone_mounts = n;
    list_remove(&v->counted);
    list_append(&p->counted, &v->counted);
    (void)eventfd_write(p->done_fd, 1);
}

/* The lock is held, and given up meanwhile. */
static void work_on_mounts(struct publisher *p)
{
    struct lone_mounts seen = {0};
    struct publisher_volume *v;
    int root_fd;

    p->has_seen_mounts = false;
    begin_work(p, NULL);
    if (mount_watch_take(p->watch, &seen) && session_begin_write(p->session, &root_fd) == 0) {
        live_mounts_reconcile(p->live_mounts, root_fd, &seen);
        session_end_write(p->session, root_fd);
    }
    lone_mounts_deinit(&seen);
    end_work(p);
    list_for_each (v, &p->volumes, link) {
        count_lone_mounts(p, v);
        if (p->answers_open && live_mounts_take_behind(p->live_mounts, v->name))
            note_behind(p, v, 0);
    }
}

static void work_on_binding(struct publisher *p, struct publisher_volume *v)
{
    struct error e = ERROR_INIT;
    uint64_t mount_id = 0;
    int r;

    list_remove(&v->binding);
    begin_work(p, v);
    r = session_bind(p->session, v->name, v->target_fd, v->mount_attr, &mount_id, &e);
    end_work(p);
    v->bound_error = r;
    v->bound_text = e;
    v->mount_id = mount_id;
    list_append(&p->bound, &v->bound);
    (void)eventfd_write(p->done_fd, 1);
}

/* What cannot be removed, for want of memory, is tried again later. */
static void work_on_removing(struct publisher *p, struct publisher_volume *v)
{
    int r;

    list_remove(&v->waiting);
    begin_work(p, v);
    live_update_deinit(&v->update);
    if (p->live_mounts != NULL)
        live_mounts_forget(p->live_mounts, v->name);
    r = remove_directory(v);
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

    (void)pthread_cond_timedwait(&p->changed, &p->lock, &t);
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
    (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(null_fd, STDOUT_FILENO);
    if (fstat(STDERR_FILENO, &status) < 0 || !S_ISREG(status.st_mode))
        (void)dup2(null_fd, STDERR_FILENO);
    (void)close_range(STDERR_FILENO + 1, low - 1, 0);
    if (low + 1 < high)
        (void)close_range(low + 1, high - 1, 0);
    (void)close_range(high + 1, UINT_MAX, 0);
}

static void work_on_probe(struct publisher *p)
{
    p->is_to_be_probed = false;
    begin_work(p, NULL);
    (void)session_probe(p->session);
    end_work(p);
    p->is_probed = true;
    (void)eventfd_write(p->done_fd, 1);
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
        (void)pthread_cond_wait(&p->changed, &p->lock);
    else
        wait_until(p, next);
}

static void *publisher_main(void *userdata)
{
    struct publisher *p = userdata;

    leave_descriptors(p);
    (void)pthread_setname_np(pthread_self(), "publisher");
    session_set_publisher(p->session, gettid());
    (void)pthread_mutex_lock(&p->lock);
    while (!p->is_stopping)
        if (!work_on_something(p))
            wait_for_work(p);
    (void)pthread_mutex_unlock(&p->lock);
    session_set_publisher(p->session, 0);
    return NULL;
}

/* ---- on the loop's thread */

static bool take_result(struct publisher *p, struct publisher_volume **ret_volume,
                        struct publisher_result *ret_result)
{
    bool found;

    (void)pthread_mutex_lock(&p->lock);
    found = !list_is_empty(&p->finished);
    if (found) {
        struct publisher_volume *v =
            list_entry(p->finished.next, struct publisher_volume, finished);

        list_remove(&v->finished);
        *ret_volume = v;
        *ret_result = v->result;
        v->result = (struct publisher_result){0};
    }
    (void)pthread_mutex_unlock(&p->lock);
    return found;
}

/* Return: a volume of which the loop is to be told that it is bound, or not; NULL if there is none.
 */
static struct publisher_volume *take_bound(struct publisher *p)
{
    struct publisher_volume *v;

    (void)pthread_mutex_lock(&p->lock);
    v = FIRST_OF(&p->bound, bound);
    if (v != NULL)
        list_remove(&v->bound);
    (void)pthread_mutex_unlock(&p->lock);
    return v;
}

/* The same, of which it is to be told how much is mounted alone. */
static struct publisher_volume *take_counted(struct publisher *p)
{
    struct publisher_volume *v;

    (void)pthread_mutex_lock(&p->lock);
    v = FIRST_OF(&p->counted, counted);
    if (v != NULL)
        list_remove(&v->counted);
    (void)pthread_mutex_unlock(&p->lock);
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

    (void)pthread_mutex_lock(&p->lock);
    is_probed = p->is_probed;
    p->is_probed = false;
    (void)pthread_mutex_unlock(&p->lock);
    if (is_probed)
        p->probed(p->probed_userdata);
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct publisher *p = userdata;
    struct publisher_volume *v;
    struct publisher_result result;
    eventfd_t count;

    (void)source;
    (void)revents;
    (void)eventfd_read(fd, &count);
    while (take_result(p, &v, &result)) {
        v->callbacks->done(v->userdata, &result);
        (void)payload_unref(result.payload);
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

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attr);
    (void)pthread_condattr_destroy(&attr);
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
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    r = pthread_create(&p->thread, &attr, publisher_main, p);
    (void)pthread_attr_destroy(&attr);
    return r == 0 ? 0 : error_set_errno(e, -r, "cannot start the publisher's thread");
}

static void publisher_release(struct publisher *p)
{
    p->watch = mount_watch_free(p->watch);
    p->live_mounts = live_mounts_free(p->live_mounts);
    (void)sd_event_source_disable_unref(p->done_source);
    (void)fd_close(p->done_fd);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Thread: the monitor's. */
static void on_mounts_seen(void *userdata)
{
    struct publisher *p = userdata;

    (void)pthread_mutex_lock(&p->lock);
    p->has_seen_mounts = true;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

static int watch_mounts(struct publisher *p, struct mount_monitor *monitor, struct error *e)
{
    int r;

    if (monitor == NULL)
        return 0;
    r = live_mounts_new(p->session, p->tree, p->answers_open, &p->live_mounts);
    if (r == 0)
        r = mount_watch_new(monitor, session_device(p->session), on_mounts_seen, p, &p->watch);
    return r < 0 ? error_set_errno(e, r, "cannot watch what is mounted") : 0;
}

static void init_lists(struct publisher *p)
{
    struct list *const lists[] = {&p->volumes,  &p->removing, &p->binding,  &p->waiting,
                                  &p->draining, &p->behind,   &p->cleaning, &p->finished,
                                  &p->bound,    &p->counted};

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
    p->tree = options->tree;
    p->answers_open = options->answers_open;
    p->done_fd = -1;
    (void)pthread_mutex_init(&p->lock, NULL);
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
    (void)pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    (void)pthread_join(p->thread, NULL);
    free_removed(p);
    assert(list_is_empty(&p->waiting) && list_is_empty(&p->finished));
    publisher_release(p);
    return NULL;
}

int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks, void *userdata,
                         struct publisher_volume **ret_volume)
{
    struct publisher_volume *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return -ENOMEM;
    *v = (struct publisher_volume){.publisher = place->publisher,
                                   .name = strdup(place->name),
                                   .uid = place->uid,
                                   .gid = place->gid,
                                   .mode = place->mode,
                                   .changes_in_place = place->changes_in_place,
                                   .dir_id = streq(place->name, ".") ? TREE_ROOT_ID : 0,
                                   .callbacks = callbacks,
                                   .userdata = userdata,
                                   .target_fd = -1};
    if (v->name == NULL) {
        free(v);
        return -ENOMEM;
    }
    list_init(&v->waiting);
    list_init(&v->finished);
    list_init(&v->draining);
    list_init(&v->behind);
    list_init(&v->cleaning);
    list_init(&v->binding);
    list_init(&v->bound);
    list_init(&v->counted);
    (void)pthread_mutex_lock(&v->publisher->lock);
    list_append(&v->publisher->volumes, &v->link);
    (void)pthread_mutex_unlock(&v->publisher->lock);
    *ret_volume = v;
    return 0;
}

/* The lock is held. Waits for the thread, lest the descriptor that it uses is somebody else's. */
static void unbind(struct publisher *p, struct publisher_volume *v)
{
    while (p->active == v && v->target_fd >= 0)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    list_remove(&v->binding);
    list_remove(&v->bound);
    v->target_fd = fd_close(v->target_fd);
}

void publisher_unbind(struct publisher_volume *volume)
{
    struct publisher *p = volume->publisher;

    (void)pthread_mutex_lock(&p->lock);
    unbind(p, volume);
    (void)pthread_mutex_unlock(&p->lock);
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    struct publisher_volume *v = volume;
    struct publisher *p;

    if (v == NULL)
        return NULL;
    p = v->publisher;
    (void)pthread_mutex_lock(&p->lock);
    unbind(p, v);
    v->is_removed = true;
    list_remove(&v->link);
    list_remove(&v->waiting);
    list_remove(&v->finished);
    list_remove(&v->draining);
    list_remove(&v->behind);
    list_remove(&v->counted);
    list_remove(&v->cleaning);
    list_append(&p->removing, &v->waiting);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

void publisher_bind(struct publisher_volume *volume, int target_fd_consumed,
                    unsigned long mount_attr, publisher_bound_fn *bound, void *userdata)
{
    struct publisher_volume *v = volume;
    struct publisher *p = v->publisher;

    assert(v->target_fd < 0);
    (void)pthread_mutex_lock(&p->lock);
    v->target_fd = target_fd_consumed;
    v->mount_attr = mount_attr;
    v->on_bound = bound;
    v->bound_userdata = userdata;
    list_append(&p->binding, &v->binding);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    struct publisher *p = volume->publisher;
    struct payload *overtaken;

    (void)pthread_mutex_lock(&p->lock);
    overtaken = volume->pending;
    volume->pending = payload_ref(payload);
    volume->pending_received_at = received_at;
    if (overtaken == NULL)
        list_append(&p->waiting, &volume->waiting);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    (void)payload_unref(overtaken);
}

struct publisher_lone_mounts publisher_lone_mounts(struct publisher_volume *volume)
{
    struct publisher *p = volume->publisher;
    struct publisher_lone_mounts mounts = {.follow = p->answers_open};

    (void)pthread_mutex_lock(&p->lock);
    mounts.n = volume->n_lone_mounts;
    (void)pthread_mutex_unlock(&p->lock);
    return mounts;
}

void publisher_probe(struct publisher *publisher, publisher_probed_fn *probed, void *userdata)
{
    struct publisher *p = publisher;

    (void)pthread_mutex_lock(&p->lock);
    p->probed = probed;
    p->probed_userdata = userdata;
    p->is_to_be_probed = true;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}
