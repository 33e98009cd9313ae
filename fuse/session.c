/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the read-only mount and its writable twin come about, without a moment at which a consumer
 * could see an empty or a writable volume (as root):
 *
 *  1. fsopen() and fsmount() make a mount that is attached nowhere; the publisher fills it.
 *  2. session_attach() sets it read-only, and then moves it to the mount point.
 *  3. A clone of it, attached nowhere again, is set writable and serves the publisher from then on.
 *
 * In this order because a kernel before 6.15 does not clone what is not attached.
 *
 * session_bind() is the same for one directory: a clone of what is attached, read-only before it is
 * moved to where readers look.
 *
 * The twin keeps the file system alive when the mount point is unmounted, so the connection does
 * not tell the end; /proc/self/mountinfo does, which polls as an exceptional condition when it
 * changes. As an ordinary user the device says ENODEV.
 *
 * Workers sit in read(2) on the device. They never wait for anything else, and nothing that could
 * wait for them runs on them. They are ended by cancellation, which is possible only in that read.
 */
#include "fuse/session.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "base/log.h"
#include "base/mountinfo.h"
#include "base/process.h"
#include "fuse/notifier.h"
#include "fuse/operations.h"

#define N_WORKERS_MIN 2
#define N_WORKERS_MAX 4 /* a cold read costs some microseconds; more threads only cost memory */

#define WORKER_STACK_BYTES 262144u

struct worker {
    struct session *session;
    pthread_t thread;
    struct fuse_buf request; /* here and not on its stack, as it outlives a cancellation */
};

struct session {
    struct operations operations;
    struct fuse_session *fuse;
    char *mountpoint;
    dev_t device;

    struct worker workers[N_WORKERS_MAX];
    size_t n_workers;
    atomic_uint_least64_t n_requests[SESSION_KINDS];

    pthread_mutex_t view_lock; /* view_fd, and the mount as such while somebody writes */
    int view_fd;               /* the writable view; -1 as an ordinary user */

    struct notifier *notifier;

    bool is_attached;
    bool is_dead;
    bool has_ended;    /* and that was told */
    uint64_t mount_id; /* of the mount at the mount point, once attached */

    session_ended_fn *ended;
    void *userdata;
    int ended_fd; /* eventfd: a worker saw the end of the connection */
    sd_event_source *ended_source;
    sd_event_source *mountinfo_source;
};

/* ---- requests by kind */

static const char *const opcode_names[] = {
    [FUSE_LOOKUP] = "lookup",
    [FUSE_FORGET] = "forget",
    [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr",
    [FUSE_READLINK] = "readlink",
    [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod",
    [FUSE_MKDIR] = "mkdir",
    [FUSE_UNLINK] = "unlink",
    [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename",
    [FUSE_LINK] = "link",
    [FUSE_OPEN] = "open",
    [FUSE_READ] = "read",
    [FUSE_WRITE] = "write",
    [FUSE_STATFS] = "statfs",
    [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync",
    [FUSE_SETXATTR] = "setxattr",
    [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr",
    [FUSE_REMOVEXATTR] = "removexattr",
    [FUSE_FLUSH] = "flush",
    [FUSE_INIT] = "init",
    [FUSE_OPENDIR] = "opendir",
    [FUSE_READDIR] = "readdir",
    [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_ACCESS] = "access",
    [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt",
    [FUSE_DESTROY] = "destroy",
    [FUSE_BATCH_FORGET] = "batch_forget",
    [FUSE_READDIRPLUS] = "readdirplus",
    [FUSE_RENAME2] = "rename2",
    [FUSE_IOCTL] = "ioctl", /* the kernel does not remember ENOSYS here: Python's open() asks */
    [FUSE_POLL] = "poll",
    [FUSE_FALLOCATE] = "fallocate",
    [FUSE_LSEEK] = "lseek",
    [FUSE_COPY_FILE_RANGE] = "copy_file_range",
    [SESSION_KINDS - 1] = "other",
};

static void count_request(struct session *s, const struct fuse_buf *buf)
{
    const struct fuse_in_header *header = buf->mem;
    size_t kind = SESSION_KINDS - 1;

    if (buf->size >= sizeof(*header) && header->opcode < ELEMENTS_OF(opcode_names) &&
        opcode_names[header->opcode] != NULL)
        kind = header->opcode;
    atomic_fetch_add_explicit(&s->n_requests[kind], 1, memory_order_relaxed);
}

void session_count_requests(const struct session *session, struct session_counts *counts)
{
    for (size_t i = 0; session != NULL && i < SESSION_KINDS; i++)
        counts->n[i] += atomic_load_explicit(&session->n_requests[i], memory_order_relaxed);
}

void session_counts_visit(const struct session_counts *counts, session_visit_fn *visit,
                          void *userdata)
{
    for (size_t i = 0; i < SESSION_KINDS; i++)
        if (counts->n[i] > 0)
            visit(userdata, opcode_names[i], counts->n[i]);
}

/* ---- workers */

static void *worker_main(void *userdata)
{
    struct worker *w = userdata;
    struct session *s = w->session;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setname_np(pthread_self(), "fuse-worker");
    while (!fuse_session_exited(s->fuse)) {
        int n;

        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        n = fuse_session_receive_buf(s->fuse, &w->request);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            break;
        count_request(s, &w->request);
        fuse_session_process_buf(s->fuse, &w->request);
    }
    eventfd_write(s->ended_fd, 1);
    return NULL;
}

static int workers_start(struct session *s, struct error *e)
{
    long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = N_WORKERS_MIN;
    pthread_attr_t attr;
    int r = 0;

    if (n_processors > N_WORKERS_MIN)
        n = size_min((size_t)n_processors, N_WORKERS_MAX);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    while (s->n_workers < n && r == 0) {
        struct worker *w = &s->workers[s->n_workers];

        w->session = s;
        r = pthread_create(&w->thread, &attr, worker_main, w);
        s->n_workers += r == 0;
    }
    pthread_attr_destroy(&attr);
    if (s->n_workers == 0)
        return error_set_errno(e, -r, "cannot start a thread to serve the mount");
    return 0;
}

static void workers_stop(struct session *s)
{
    for (size_t i = 0; i < s->n_workers; i++)
        pthread_cancel(s->workers[i].thread);
    for (size_t i = 0; i < s->n_workers; i++) {
        pthread_join(s->workers[i].thread, NULL);
        free(s->workers[i].request.mem);
    }
    s->n_workers = 0;
}

/* ---- the end */

static void session_has_ended(struct session *s)
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
    session_has_ended(s);
    return 0;
}

struct search {
    uint64_t id;
    bool found;
};

static bool is_other_mount(void *userdata, const struct mountinfo *mount)
{
    struct search *search = userdata;

    search->found = mount->id == search->id;
    return !search->found;
}

static bool mount_exists(uint64_t mount_id)
{
    struct search search = {.id = mount_id};
    int r = mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", is_other_mount, &search);

    return r < 0 || search.found; /* better to serve on than to end for want of a descriptor */
}

static int mount_id_of(int fd, const char *path, uint64_t *ret_mount_id)
{
    struct statx status;

    if (statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) < 0)
        return negative_errno();
    *ret_mount_id = status.stx_mnt_id;
    return 0;
}

/* The attached mount, if it is what the mount point leads to. Return: a descriptor; -ENOTCONN. */
static int open_attached(const struct session *s)
{
    _cleanup_(fd_closep) int fd =
        open(s->mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t mount_id = 0;

    if (fd < 0 || mount_id_of(fd, "", &mount_id) < 0 || mount_id != s->mount_id)
        return -ENOTCONN;
    return TAKE_FD(fd);
}

/* All mounts are looked at only if something lies over ours: a node has thousands that change. */
static bool is_in_place(const struct session *s)
{
    _cleanup_(fd_closep) int fd = open_attached(s);

    return fd >= 0 || mount_exists(s->mount_id);
}

static int on_mounts_changed(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct session *s = userdata;

    if (is_in_place(s))
        return 0;
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    s->is_attached = false;
    session_has_ended(s);
    return 0;
}

/* ---- mounting as root */

struct fs_option {
    unsigned command; /* FSCONFIG_SET_STRING or _FLAG */
    const char *name;
    const char *value;
};

/* Return: 0; 1 when mounting is not permitted to this process; -errno with @e. */
#define NOT_PERMITTED 1
static int mount_detached(struct session *s, const struct session_options *options, int device_fd,
                          struct error *e)
{
    char fd_text[16], uid_text[16], gid_text[16];
    const struct fs_option fs_options[] = {
        {FSCONFIG_SET_STRING, "source", options->source},
        {FSCONFIG_SET_STRING, "subtype", "secretfs"},
        {FSCONFIG_SET_STRING, "fd", fd_text},
        {FSCONFIG_SET_STRING, "rootmode", "40000"}, /* octal: a directory */
        {FSCONFIG_SET_STRING, "user_id", uid_text},
        {FSCONFIG_SET_STRING, "group_id", gid_text},
        {FSCONFIG_SET_FLAG, "default_permissions", NULL},
        {FSCONFIG_SET_FLAG, "allow_other", NULL},
    };
    _cleanup_(fd_closep) int fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);

    if (fs_fd < 0 && errno == EPERM)
        return NOT_PERMITTED;
    if (fs_fd < 0)
        return error_set_errno(e, negative_errno(),
                               "cannot open the fuse file system; is the "
                               "kernel's fuse module there?");
    snprintf(fd_text, sizeof(fd_text), "%d", device_fd);
    snprintf(uid_text, sizeof(uid_text), "%u", geteuid());
    snprintf(gid_text, sizeof(gid_text), "%u", getegid());
    for (size_t i = 0; i < ELEMENTS_OF(fs_options); i++) {
        const struct fs_option *o = &fs_options[i];

        if (fsconfig(fs_fd, o->command, o->name, o->value, 0) < 0)
            return error_set_errno(e, negative_errno(), "cannot set the mount option %s", o->name);
    }
    if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_set_errno(e, negative_errno(), "cannot create the file system");
    s->view_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, (unsigned)options->mount_attr);
    if (s->view_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot mount the file system");
    return 0;
}

static int set_read_only(int mount_fd, bool read_only)
{
    struct mount_attr attr = {0};

    if (read_only)
        attr.attr_set = MOUNT_ATTR_RDONLY;
    else
        attr.attr_clr = MOUNT_ATTR_RDONLY;
    return mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? negative_errno()
                                                                               : 0;
}

/* The mount that @fd or @path leads to is what consumers see, or about to be. */
static int note_mount(struct session *s, int fd, const char *path)
{
    int r = mount_id_of(fd, path, &s->mount_id);

    s->is_attached = s->is_attached || r >= 0;
    return r;
}

/* Steps 2 and 3 of the top comment. The lock is held. */
static int attach_view(struct session *s, struct error *e)
{
    int twin_fd;
    int r = set_read_only(s->view_fd, true);

    if (r < 0)
        return error_set_errno(e, r, "cannot make the mount read-only");
    if (move_mount(s->view_fd, "", AT_FDCWD, s->mountpoint, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_set_errno(e, negative_errno(), "cannot mount on %s", s->mountpoint);
    r = note_mount(s, s->view_fd, "");
    if (r < 0)
        return error_set_errno(e, r, "cannot identify the mount on %s", s->mountpoint);
    twin_fd = open_tree(s->view_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (twin_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot clone the mount on %s", s->mountpoint);
    fd_close(s->view_fd);
    s->view_fd = twin_fd;
    r = set_read_only(s->view_fd, false);
    if (r < 0)
        return error_set_errno(e, r, "cannot make the private view of %s writable", s->mountpoint);
    return 0;
}

static int watch_mounts(struct session *s, sd_event *event, struct error *e)
{
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot watch /proc/self/mountinfo");
    r = sd_event_add_io(event, &s->mountinfo_source, fd, EPOLLPRI, on_mounts_changed, s);
    if (r < 0) {
        fd_close(fd);
        return error_set_errno(e, r, "cannot watch /proc/self/mountinfo");
    }
    sd_event_source_set_io_fd_own(s->mountinfo_source, true);
    return 0;
}

/* ---- mounting as an ordinary user */

static int unmount_as_user(const char *mountpoint)
{
    const char *const politely[] = {"fusermount3", "-u", "-q", "--", mountpoint, NULL};
    const char *const lazily[] = {"fusermount3", "-u", "-q", "-z", "--", mountpoint, NULL};

    if (process_run(politely) == 0)
        return 0;
    return process_run(lazily) == 0 ? 0 : -EBUSY;
}

static int mount_as_user(struct session *s, struct error *e)
{
    int r;

    if (fuse_session_mount(s->fuse, s->mountpoint) < 0)
        return error_set(e, -EPERM,
                         "fusermount3 could not mount on %s; it says why above (package fuse3, "
                         "/etc/fuse.conf)",
                         s->mountpoint);
    r = device_io_attach(s->fuse, fuse_session_fd(s->fuse));
    return r < 0 ? error_set_errno(e, r, "cannot serve the mount") : 0;
}

/* ---- the session */

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

static int mount_somehow(struct session *s, const struct session_options *options, struct error *e)
{
    _cleanup_(fd_closep) int device_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int r;

    if (device_fd < 0)
        return error_set_errno(e, negative_errno(),
                               "cannot open /dev/fuse; load the kernel's fuse "
                               "module or let the container have the device");
    r = mount_detached(s, options, device_fd, e);
    if (r == NOT_PERMITTED)
        return mount_as_user(s, e);
    if (r < 0)
        return r;
    r = device_io_attach(s->fuse, device_fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot serve the mount");
    (void)TAKE_FD(device_fd); /* libfuse's now */
    return 0;
}

/* Without asking the workers: were we killed meanwhile, nobody would answer. */
static int find_device(struct session *s, struct error *e)
{
    bool as_user = s->view_fd < 0;
    struct statx root;
    int r = statx(as_user ? AT_FDCWD : s->view_fd, as_user ? s->mountpoint : "",
                  AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &root);

    if (r < 0)
        return error_set_errno(e, negative_errno(), "cannot look at the mount on %s",
                               s->mountpoint);
    s->device = makedev(root.stx_dev_major, root.stx_dev_minor);
    if (!as_user)
        return 0;
    r = note_mount(s, AT_FDCWD, s->mountpoint);
    return r < 0 ? error_set_errno(e, r, "cannot identify the mount on %s", s->mountpoint) : 0;
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
    s->view_fd = -1;
    operations_init(&s->operations, tree, options->answers_open);
    s->userdata = userdata;
    pthread_mutex_init(&s->view_lock, NULL);
    s->mountpoint = strdup(options->mountpoint);
    s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->mountpoint == NULL || s->ended_fd < 0)
        return error_set_errno(e, -ENOMEM, "cannot set the mount up");
    s->fuse = make_fuse_session(s, options);
    if (s->fuse == NULL)
        return error_set(e, -EINVAL, "libfuse does not accept the mount options");
    s->operations.fuse = s->fuse;
    r = mount_somehow(s, options, e);
    if (r < 0)
        return r;
    r = workers_start(s, e);
    if (r == 0)
        r = notifier_new(s->fuse, on_notified, s, &s->notifier, e);
    if (r < 0)
        return r;
    r = find_device(s, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &s->ended_source, s->ended_fd, EPOLLIN, on_connection_ended, s);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch the mount");
    if (s->view_fd >= 0) {
        r = watch_mounts(s, event, e);
        if (r < 0)
            return r;
        sd_event_source_set_enabled(s->mountinfo_source, SD_EVENT_OFF);
    }
    s->ended = ended;
    *ret_session = TAKE(s);
    return 0;
}

static void detach(struct session *s)
{
    int r;

    if (!s->is_attached || !mount_exists(s->mount_id))
        return;
    if (s->view_fd < 0)
        r = unmount_as_user(s->mountpoint);
    else if (umount2(s->mountpoint, UMOUNT_NOFOLLOW) == 0 ||
             umount2(s->mountpoint, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
        r = 0;
    else
        r = negative_errno();
    if (r < 0)
        log_warn("cannot unmount", "mountpoint", s->mountpoint, "error", strerror(-r));
    s->is_attached = false;
}

struct session *session_free(struct session *session)
{
    struct session *s = session;

    if (s == NULL)
        return NULL;
    s->ended = NULL;
    sd_event_source_disable_unref(s->ended_source);
    sd_event_source_disable_unref(s->mountinfo_source);
    detach(s);
    s->view_fd = fd_close(s->view_fd);
    notifier_free(s->notifier);
    workers_stop(s);
    if (s->fuse != NULL)
        fuse_session_destroy(s->fuse);
    fd_close(s->ended_fd);
    operations_deinit(&s->operations);
    pthread_mutex_destroy(&s->view_lock);
    free(s->mountpoint);
    free(s);
    return NULL;
}

int session_attach(struct session *session, struct error *e)
{
    int r;

    if (session->view_fd < 0)
        return 0;
    if (session->is_dead)
        return error_set(e, -ENOTCONN, "the connection to the kernel was aborted");
    pthread_mutex_lock(&session->view_lock);
    r = attach_view(session, e);
    pthread_mutex_unlock(&session->view_lock);
    if (r < 0)
        return r;
    session->has_ended = false;
    sd_event_source_set_enabled(session->mountinfo_source, SD_EVENT_ON);
    return 0;
}

dev_t session_device(const struct session *session)
{
    return session->device;
}

/* The publisher has descriptors of its own (publisher.c), so it takes what it needs out of the
 * process's. */
static int open_of_process(int process_fd)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", process_fd);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : negative_errno();
}

/*
 * The mount point of an ordinary user is opened each time: a descriptor that stayed open would keep
 * the user's own unmounting from working.
 */
static int open_view(const struct session *s)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat root;

    if (s->view_fd >= 0)
        return open_of_process(s->view_fd);
    fd = open(s->mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &root) < 0 || root.st_dev != s->device)
        return -ENOTCONN;
    return TAKE_FD(fd);
}

int session_begin_write(struct session *session, int *ret_root_fd)
{
    int fd;

    pthread_mutex_lock(&session->view_lock);
    fd = open_view(session);
    if (fd < 0) {
        pthread_mutex_unlock(&session->view_lock);
        return fd;
    }
    *ret_root_fd = fd;
    return 0;
}

void session_end_write(struct session *session, int root_fd)
{
    fd_close(root_fd);
    pthread_mutex_unlock(&session->view_lock);
}

bool session_is_dead(const struct session *session)
{
    return session->is_dead;
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

static int clone_part(int dir_fd, const char *path)
{
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_SYMLINK_NOFOLLOW;
    int fd = open_tree(dir_fd, path, flags);

    return fd < 0 ? negative_errno() : fd;
}

/* The view is attached nowhere, which a kernel before 6.15 does not clone; then its twin is. */
static int clone_somehow(const struct session *s, const char *path, struct error *e)
{
    _cleanup_(fd_closep) int view_fd = open_view(s), attached_fd = -1;
    int fd = view_fd < 0 ? view_fd : clone_part(view_fd, path);

    if (fd == -EINVAL) {
        attached_fd = open_attached(s);
        if (attached_fd < 0)
            return error_set(e, attached_fd, "the mount on %s is gone or hidden under another one",
                             s->mountpoint);
        fd = clone_part(attached_fd, path);
    }
    return fd < 0 ? error_set_errno(e, fd, "cannot clone the mount of %s", path) : fd;
}

/*
 * A read-only mount of a directory that is attached nowhere yet. The view's lock is held.
 * Return: a descriptor, which is the caller's; -errno with @e.
 */
static int clone_read_only(struct session *session, const char *path, unsigned long mount_attr,
                           struct error *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | mount_attr,
                              .propagation = MS_PRIVATE};
    _cleanup_(fd_closep) int fd = clone_somehow(session, path, e);

    if (fd < 0)
        return fd;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return error_set_errno(e, negative_errno(), "cannot make the mount read-only");
    return TAKE_FD(fd);
}

int session_bind(struct session *session, const char *name, int target_fd, unsigned long mount_attr,
                 uint64_t *ret_mount_id, struct error *e)
{
    _cleanup_(fd_closep) int clone_fd = -1, to_fd = -1;
    uint64_t mount_id;
    int r;

    pthread_mutex_lock(&session->view_lock);
    clone_fd = clone_read_only(session, name, mount_attr, e);
    pthread_mutex_unlock(&session->view_lock);
    if (clone_fd < 0)
        return clone_fd;
    to_fd = open_of_process(target_fd);
    if (to_fd < 0)
        return error_set_errno(e, to_fd, "cannot open the directory to mount on");
    r = mount_id_of(clone_fd, "", &mount_id);
    if (r < 0)
        return error_set_errno(e, r, "cannot identify the mount");
    if (move_mount(clone_fd, "", to_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return error_set_errno(e, negative_errno(), "cannot mount");
    *ret_mount_id = mount_id;
    return 0;
}

void session_notify(struct session *session, const struct notification *all, size_t n)
{
    notifier_run(session->notifier, all, n);
}

void session_set_publisher(struct session *session, int tid)
{
    atomic_store(&session->operations.publisher_tid, tid);
}
