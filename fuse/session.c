/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers sit in read(2) on the device. They wait for no other thread, and no call
 * that could wait for them runs on them. They are ended by cancellation, which is possible only in
 * that read, and before it until session_serve(). A request that was read in the same instant is
 * lost; the next process has it sent again.
 *
 * A kernel that cannot send again (before Linux 6.9) has the workers on a clone of the device,
 * which no other process has: what a killed process had taken fails at once, while the device,
 * which is stored, keeps the mount. There they sit in poll(2), so that a worker that is ended has
 * answered what it has taken. Requests of live files would need more: a lost RELEASE keeps a
 * version for ever, and the notifier can wait for a directory that a request has locked, which
 * would keep the clone open. So a file system that answers OPEN stays on the device.
 *
 * A session ends in two ways. As root the mount is unmounted, which mountinfo shows; the writable
 * view keeps the connection, and the mount may be attached once more. Or the connection is aborted,
 * or an ordinary user unmounts it: the device says ENODEV, and the session is dead.
 *
 * mountinfo is watched from the beginning, and while the mount is not attached its events are
 * ignored. If the watch began, or began again, after the mount was attached, an unmount before that
 * would be lost: the kernel reports a change to the first poll of it, which epoll_ctl(2) makes and
 * epoll_wait(2) repeats.
 */
#include "fuse/session.h"

#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/log.h"
#include "base/privileged.h"
#include "base/thread.h"
#include "fuse/mount_view.h"
#include "fuse/mount_watch.h"
#include "fuse/node.h"
#include "fuse/operations.h"

#define N_WORKERS_MIN 2
#define N_WORKERS_MAX 4 /* a cold read costs some microseconds; more threads only cost memory */

#define WORKER_STACK_BYTES 262144u

/* How long a file system is served, at most, after its last mount has gone. */
#define OTHERS_POLL SPAN_SEC(5)
#define TIMER_SLACK SPAN_SEC(1)

struct worker {
    struct session *session;
    pthread_t thread;
    struct fuse_buf request; /* here and not on its stack, as it outlives a cancellation */
};

struct session {
    struct operations operations;
    struct fuse_session *fuse;
    struct mount_view view;

    struct worker workers[N_WORKERS_MAX];
    size_t n_workers;
    sem_t may_serve; /* session_serve() posts it for each worker */
    struct request_counters requests;

    struct notifier *notifier;
    struct device_init init;
    int device_fd; /* while libfuse works on a clone of it; else -1 */
    bool is_adopted;

    bool is_adopting; /* and has not succeeded: the mount stays for the next try */
    bool is_dead;
    bool has_ended; /* and ended() was called, since the last attach */

    session_ended_fn *ended;
    void *userdata;
    int ended_fd; /* eventfd: a worker saw the end of the connection */
    sd_event_source *ended_source;
    sd_event_source *mounts_source;
    sd_event_source *others_timer; /* session_serve_others() */
};

void session_count_requests(const struct session *session, struct request_counts *counts)
{
    if (session != NULL)
        request_counts_add(counts, &session->requests);
}

/* ---- workers */

/* INIT is answered before there are workers. */
static int answer_init(struct session *s, struct error *e)
{
    const struct fuse_in_header header = {.opcode = FUSE_INIT};
    int r = device_negotiate(s->fuse, &s->init);

    if (r < 0)
        return error_set_errno(e, r, "cannot serve the mount");
    request_counters_count(&s->requests, &header, sizeof(header));
    device_trace_replies(s->fuse);
    return 0;
}

static void wait_until_served(struct session *s)
{
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    while (sem_wait(&s->may_serve) < 0)
        continue; /* EINTR */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

static int receive_from_device(struct worker *w)
{
    int n;

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    n = fuse_session_receive_buf(w->session->fuse, &w->request);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return n;
}

/* Another worker may take the request that poll(2) reports. */
static int receive_from_clone(struct worker *w)
{
    struct pollfd clone = {.fd = fuse_session_fd(w->session->fuse), .events = POLLIN};

    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    poll(&clone, 1, -1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return fuse_session_receive_buf(w->session->fuse, &w->request);
}

static void *worker_main(void *userdata)
{
    struct worker *w = userdata;
    struct session *s = w->session;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setname_np(pthread_self(), "fuse-worker");
    confinement_restrict_thread(CONFINEMENT_WORKER);
    wait_until_served(s);
    while (!fuse_session_exited(s->fuse)) {
        int n = s->device_fd < 0 ? receive_from_device(w) : receive_from_clone(w);

        if (n == -EINTR || n == -EAGAIN)
            continue;
        if (n <= 0)
            break;
        device_trace_request(w->request.mem);
        request_counters_count(&s->requests, w->request.mem, w->request.size);
        operations_set_request(device_unique(w->request.mem), device_is_resent(w->request.mem));
        fuse_session_process_buf(s->fuse, &w->request);
    }
    eventfd_write(s->ended_fd, 1);
    return NULL;
}

/*
 * What workers need later is allocated now, as a lack of memory then would end the session, or the
 * process: the memory for requests, and glibc's unwinder, which pthread_cancel(3) loads at first.
 */
static int workers_prepare(struct session *s, size_t n)
{
    void *frame;
    int r = 0;

    (void)backtrace(&frame, 1); /* loads it, too */
    for (size_t i = 0; i < n && r == 0; i++) {
        s->workers[i].session = s;
        r = device_allocate(s->fuse, &s->workers[i].request);
    }
    return r;
}

static int workers_start(struct session *s, struct error *e)
{
    long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = N_WORKERS_MIN;
    int r;

    assert(s->n_workers == 0 && s->fuse != NULL);
    if (n_processors > N_WORKERS_MIN)
        n = size_min((size_t)n_processors, N_WORKERS_MAX);
    r = workers_prepare(s, n);
    if (r < 0)
        return error_set_errno(e, r, "cannot allocate memory to serve the mount");
    for (; s->n_workers < n && r == 0; s->n_workers += r == 0)
        r = thread_start(&s->workers[s->n_workers].thread, WORKER_STACK_BYTES, worker_main,
                         &s->workers[s->n_workers]);
    if (s->n_workers == 0)
        return error_set_errno(e, r, "cannot start a thread to serve the mount");
    return 0;
}

static void workers_stop(struct session *s)
{
    for (size_t i = 0; i < s->n_workers; i++)
        pthread_cancel(s->workers[i].thread);
    for (size_t i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i].thread, NULL);
    for (size_t i = 0; i < N_WORKERS_MAX; i++)
        free(s->workers[i].request.mem);
    s->n_workers = 0;
}

/* ---- the end */

static void report_end(struct session *s)
{
    if (s->ended == NULL || s->has_ended)
        return;
    s->has_ended = true;
    s->ended(s->userdata);
}

static int on_connection_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct session *s = userdata;

    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    s->is_dead = true;
    report_end(s);
    return 0;
}

static int on_mounts_changed(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct session *s = userdata;

    if (s->view.is_attached && !mount_view_check(&s->view))
        report_end(s);
    return 0;
}

/* ---- mounts elsewhere */

/* Return: whether there are any, as far as is known. */
static bool has_others(struct session *s)
{
    struct error e = ERROR_INIT;
    int r = mount_view_renew(&s->view, fuse_session_fd(s->fuse), &e);

    if (r < 0 && r != -ENOTCONN)
        log_warn("other mounts of the file system are served without updates", "mountpoint",
                 s->view.mountpoint, "reason", e.text);
    return r != -ENOTCONN;
}

static int on_others_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct session *s = userdata;

    if (!mount_view_is_private(&s->view))
        return 0; /* the device says when the last one has gone */
    if (has_others(s))
        return sd_event_source_set_time_relative(source, OTHERS_POLL) < 0
                   ? 0
                   : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    s->is_dead = true;
    report_end(s);
    return 0;
}

bool session_serve_others(struct session *session)
{
    struct session *s = session;

    if (s->is_dead || !mount_view_is_private(&s->view) || !has_others(s))
        return false;
    s->has_ended = false;
    return sd_event_add_time_relative(sd_event_source_get_event(s->ended_source), &s->others_timer,
                                      CLOCK_MONOTONIC, OTHERS_POLL, TIMER_SLACK, on_others_timer,
                                      s) >= 0;
}

/* ---- mounting */

static int run_mount(void *arguments)
{
    const struct session *s = arguments;

    return fuse_session_mount(s->fuse, s->view.mountpoint);
}

static int mount_as_user(struct session *s, struct error *e)
{
    if (privileged_run_program(run_mount, s) < 0)
        return error_set(e, -EPERM,
                         "fusermount3 could not mount on %s; it says why above (package fuse3, "
                         "/etc/fuse.conf)",
                         s->view.mountpoint);
    return 0;
}

static struct fuse_session *make_fuse_session(struct session *s,
                                              const struct session_options *options)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *fuse = NULL;
    char text[PATH_MAX + 64];

    snprintf(text, sizeof(text), "-ofsname=%s,subtype=secretfs,default_permissions%s",
             options->source, options->allow_other ? ",allow_other" : "");
    if (fuse_opt_add_arg(&args, "secretfs") == 0 && fuse_opt_add_arg(&args, text) == 0 &&
        (options->user_options == NULL || (fuse_opt_add_arg(&args, "-o") == 0 &&
                                           fuse_opt_add_arg(&args, options->user_options) == 0)))
        fuse = fuse_session_new(&args, &operations_table, sizeof(operations_table), &s->operations);
    fuse_opt_free_args(&args);
    return fuse;
}

static int mount_as_root_or_user(struct session *s, const struct session_options *options,
                                 struct error *e)
{
    const struct mount_view_options view_options = {.source = options->source,
                                                    .mount_attr = options->mount_attr};
    _cleanup_(fd_closep) int device_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int r;

    if (device_fd < 0)
        return error_set_errno(e, negative_errno(),
                               "cannot open /dev/fuse; load the kernel's fuse "
                               "module or let the container have the device");
    r = mount_view_mount(&s->view, &view_options, device_fd, e);
    if (r == MOUNT_VIEW_NOT_PERMITTED)
        return mount_as_user(s, e);
    if (r < 0)
        return r;
    r = device_attach(s->fuse, device_fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot serve the mount");
    (void)TAKE_FD(device_fd); /* libfuse's now */
    return 0;
}

/* ---- what a process has taken when it is killed */

static bool needs_clone(const struct session *s)
{
    return !device_init_offers_resend(&s->init) && !s->operations.answers_open;
}

/* Without a clone the mount ends with the process. */
static void work_on_clone(struct session *s)
{
    int r = needs_clone(s) ? device_work_on_clone(s->fuse, &s->device_fd) : 0;

    if (r < 0)
        log_warn("cannot clone the FUSE device; the mount ends with this process", "mountpoint",
                 s->view.mountpoint, "error", strerror(-r));
}

/*
 * What the earlier process had taken and not answered is sent again, before this one takes
 * anything; or the kernel has ended it when the earlier clone was closed.
 */
static int resend(struct session *s, struct error *e)
{
    int r;

    if (needs_clone(s)) {
        r = device_work_on_clone(s->fuse, &s->device_fd);
        return r < 0 ? error_set_errno(e, r, "cannot clone the FUSE device") : 0;
    }
    r = device_resend(s->fuse);
    return r < 0 && r != -EINVAL
               ? error_set_errno(e, r, "cannot have the kernel send requests again")
               : 0;
}

/* ---- a mount of another process */

/* The earlier process has ended. */
static int adopt(struct session *s, struct session_adoption *adoption, struct error *e)
{
    int r = device_attach(s->fuse, adoption->device_fd);

    if (r < 0)
        return error_set_errno(e, r, "cannot serve the mount");
    adoption->device_fd = -1; /* libfuse's now */
    s->is_adopting = true;
    s->init = *adoption->init;
    r = device_replay(s->fuse, &s->init);
    if (r < 0)
        return error_set_errno(e, r, "cannot serve the mount");
    device_trace_replies(s->fuse);
    r = mount_view_adopt(&s->view, adoption->device, e);
    return r < 0 ? r : resend(s, e);
}

/* ---- the session */

static int mount_or_adopt(struct session *s, const struct session_options *options, struct error *e)
{
    int r;

    if (options->adoption != NULL)
        return adopt(s, options->adoption, e);
    r = mount_as_root_or_user(s, options, e);
    if (r == 0)
        r = answer_init(s, e);
    if (r == 0)
        work_on_clone(s);
    return r;
}

static void on_notified(void *userdata)
{
    struct session *s = userdata;

    operations_resume_opens(&s->operations);
}

int session_new(sd_event *event, struct tree *tree, const struct session_options *options,
                session_ended_fn *ended, void *userdata, struct session **ret_session,
                struct error *e)
{
    _cleanup_(session_freep) struct session *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the mount up");
    sem_init(&s->may_serve, 0, 0);
    s->device_fd = -1;
    s->is_adopted = options->adoption != NULL;
    operations_init(&s->operations, tree, options->answers_open);
    s->userdata = userdata;
    r = mount_view_init(&s->view, options->mountpoint);
    s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r < 0 || s->ended_fd < 0)
        return error_set_errno(e, -ENOMEM, "cannot set the mount up");
    s->fuse = make_fuse_session(s, options);
    if (s->fuse == NULL)
        return error_set(e, -EINVAL, "libfuse does not accept the mount options");
    s->operations.fuse = s->fuse;
    r = mount_or_adopt(s, options, e);
    if (r < 0)
        return r;
    r = workers_start(s, e);
    if (r == 0)
        r = notifier_new(s->fuse, on_notified, s, &s->notifier, e);
    if (r < 0)
        return r;
    r = mount_view_identify(&s->view, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &s->ended_source, s->ended_fd, EPOLLIN, on_connection_ended, s);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch the mount");
    if (mount_view_is_private(&s->view)) {
        r = mount_watch_add(event, on_mounts_changed, s, &s->mounts_source, e);
        if (r < 0)
            return r;
    }
    s->ended = ended;
    s->is_adopting = false;
    *ret_session = TAKE(s);
    return 0;
}

void session_serve(struct session *session)
{
    for (size_t i = 0; i < session->n_workers; i++)
        sem_post(&session->may_serve);
}

static void stop_watching(struct session *s)
{
    s->ended = NULL;
    s->ended_source = sd_event_source_disable_unref(s->ended_source);
    s->mounts_source = sd_event_source_disable_unref(s->mounts_source);
    s->others_timer = sd_event_source_disable_unref(s->others_timer);
}

static void session_release(struct session *s)
{
    mount_view_deinit(&s->view);
    notifier_free(s->notifier);
    workers_stop(s);
    if (s->fuse != NULL)
        fuse_session_destroy(s->fuse);
    fd_close(s->device_fd);
    fd_close(s->ended_fd);
    operations_deinit(&s->operations);
    sem_destroy(&s->may_serve);
    free(s);
}

void session_abandon(struct session *session)
{
    struct session *s = session;
    int r;

    stop_watching(s);
    r = s->is_adopting ? 0 : mount_view_detach(&s->view);
    if (r < 0)
        log_warn("cannot unmount", "mountpoint", s->view.mountpoint, "error",
                 r == -EBUSY ? "another mount covers it, or a directory of its path was replaced"
                             : strerror(-r));
}

struct session *session_free(struct session *session)
{
    if (session == NULL)
        return NULL;
    session_abandon(session);
    session_release(session);
    return NULL;
}

struct session *session_hand_over(struct session *session)
{
    if (session == NULL)
        return NULL;
    stop_watching(session);
    session_release(session);
    return NULL;
}

static size_t list_adopted(struct node_table *nodes, uint64_t *ids, size_t max)
{
    NODE_TABLE_GUARD(nodes);
    return node_list_adopted_unlinked(nodes, ids, max);
}

static void release_adopted(struct node_table *nodes, uint64_t id)
{
    NODE_TABLE_GUARD(nodes);
    node_release_adopted(nodes, id);
}

/*
 * A node without a name gets no further reference from a lookup. So when the kernel does not know
 * it, which dropping its attributes tells, it never will.
 */
void session_release_forgotten(struct session *session)
{
    struct node_table *nodes = tree_nodes(session->operations.tree);
    size_t n = list_adopted(nodes, NULL, 0), n_listed;
    _cleanup_(freep) uint64_t *ids = calloc(n + 1, sizeof(*ids));

    if (ids == NULL)
        return;
    n_listed = size_min(list_adopted(nodes, ids, n), n);
    for (size_t i = 0; i < n_listed; i++)
        if (fuse_lowlevel_notify_inval_inode(session->fuse, ids[i], -1, 0) == -ENOENT)
            release_adopted(nodes, ids[i]);
}

int session_device_fd(const struct session *session)
{
    return session->device_fd >= 0 ? session->device_fd : fuse_session_fd(session->fuse);
}

bool session_can_outlive_process(const struct session *session)
{
    return device_init_offers_resend(&session->init) || session->device_fd >= 0;
}

bool session_may_have_lost_replies(const struct session *session)
{
    return session->is_adopted && session->device_fd >= 0;
}

const struct device_init *session_init_request(const struct session *session)
{
    return &session->init;
}

int session_attach(struct session *session, struct error *e)
{
    int r;

    if (!mount_view_is_private(&session->view))
        return 0;
    if (session->is_dead)
        return error_set(e, -ENOTCONN, "the connection to the kernel was aborted");
    r = mount_view_attach(&session->view, e);
    if (r < 0)
        return r;
    session->has_ended = false;
    return 0;
}

dev_t session_device(const struct session *session)
{
    return session->view.device;
}

bool session_is_dead(const struct session *session)
{
    return session->is_dead;
}

int session_begin_write(struct session *session, int *ret_root_fd)
{
    return mount_view_begin_write(&session->view, ret_root_fd);
}

void session_end_write(struct session *session, int root_fd)
{
    mount_view_end_write(root_fd);
}

int session_bind(struct session *session, const char *name, int target_fd, unsigned long mount_attr,
                 uint64_t *ret_mount_id, struct error *e)
{
    return mount_view_bind(&session->view, name, target_fd, mount_attr, ret_mount_id, e);
}

int session_probe(struct session *session)
{
    struct statx status;
    int root_fd;
    int r = session_begin_write(session, &root_fd);

    if (r < 0)
        return r;
    if (statx(root_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) < 0)
        r = negative_errno();
    session_end_write(session, root_fd);
    return r;
}

void session_notify(struct session *session, const struct notification *all, size_t n)
{
    notifier_run(session->notifier, all, n);
}

void session_resume_opens(struct session *session)
{
    operations_resume_opens(&session->operations);
}

void session_add_publisher(struct session *session, int tid)
{
    operations_add_publisher(&session->operations, tid);
}

void session_remove_publisher(struct session *session, int tid)
{
    operations_remove_publisher(&session->operations, tid);
}
