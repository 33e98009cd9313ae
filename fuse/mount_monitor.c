/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/mount_monitor.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fuse/mount_watch.h"

#define STACK_BYTES 65536u
#define SHARE       10         /* one part in so many of the time goes into reading, at most */
#define PAUSE       SPAN_MS(1) /* between two looks, however short they are */

/*
 * Far more than a node has pods and subPaths. Mounts past these do not follow; who can make them is
 * root on this host.
 */
#define MOUNTED_PARTS_MAX 65536

#define WATCHES_MAX 4 /* file systems of one process: two of a node */

struct mount_subscription {
    struct mount_monitor *monitor;
    dev_t device;
    mount_scanned_fn *seen;
    void *userdata;
    struct mounted_parts mounts; /* not yet taken */
    bool has_mounts;
};

struct mount_monitor {
    pthread_t thread;
    int wake_fd; /* eventfd */
    atomic_bool is_requested;
    atomic_bool is_new; /* there is a watch that has not seen what is mounted now */
    atomic_bool is_stopping;
    atomic_uint_least64_t seen_at;
    bool was_cut; /* and that was logged; the thread's */

    pthread_mutex_t lock; /* what follows, and all watches */
    struct mount_subscription *watches[WATCHES_MAX];
};

void mounted_parts_deinit(struct mounted_parts *mounts)
{
    for (size_t i = 0; i < mounts->n; i++)
        free(mounts->roots[i]);
    free(mounts->roots);
    *mounts = (struct mounted_parts){0};
}

/* ---- looking */

/* Parts of a volume are below a generation or below the directory of live files, see
 * live_mounts.c. */
static bool is_part(const char *root)
{
    return strstr(root, "/.") != NULL;
}

static int add(struct mounted_parts *mounts, const char *root)
{
    char *copy;

    if ((mounts->n & (mounts->n - 1)) == 0) { /* a power of two is full */
        char **roots =
            reallocarray(mounts->roots, mounts->n == 0 ? 1 : mounts->n * 2, sizeof(*roots));

        if (roots == NULL)
            return -ENOMEM;
        mounts->roots = roots;
    }
    copy = strdup(root);
    if (copy == NULL)
        return -ENOMEM;
    mounts->roots[mounts->n++] = copy;
    return 0;
}

struct look {
    struct {
        dev_t device; /* 0: none */
        struct mounted_parts mounts;
    } found[WATCHES_MAX];
    bool is_cut;
    int result;
};

static bool note_mount(void *userdata, const struct mountinfo *mount)
{
    struct look *look = userdata;

    if (!is_part(mount->root))
        return true;
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        if (look->found[i].device != mount->device)
            continue;
        if (look->found[i].mounts.n < MOUNTED_PARTS_MAX)
            look->result = add(&look->found[i].mounts, mount->root);
        else
            look->is_cut = true;
    }
    return look->result == 0;
}

static void look_deinit(struct look *look)
{
    for (size_t i = 0; i < WATCHES_MAX; i++)
        mounted_parts_deinit(&look->found[i].mounts);
}

static void find_devices(struct mount_monitor *m, struct look *look)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < WATCHES_MAX; i++)
        look->found[i].device = m->watches[i] != NULL ? m->watches[i]->device : 0;
    pthread_mutex_unlock(&m->lock);
}

/* Those who watch by now get what is there; a watch that is new gets it the next time. */
static void pass_on(struct mount_monitor *m, struct look *look, mono_us begin)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        struct mount_subscription *w = m->watches[i];

        if (w == NULL || w->device != look->found[i].device)
            continue;
        mounted_parts_deinit(&w->mounts);
        w->mounts = look->found[i].mounts;
        w->mounts.began_at = begin;
        look->found[i].mounts = (struct mounted_parts){0};
        w->has_mounts = true;
        w->seen(w->userdata);
    }
    atomic_store(&m->seen_at, begin); /* last: who finds it has been told of what was seen */
    pthread_mutex_unlock(&m->lock);
}

/* What was known stays when it fails; there is another look. Return: how long not to look again. */
static span_us look_at_mounts(struct mount_monitor *m)
{
    _cleanup_(look_deinit) struct look look = {.result = 0};
    mono_us begin;
    int r;

    atomic_store(&m->is_requested, false); /* before the time: a request after it is the next */
    begin = clock_mono();
    find_devices(m, &look);
    r = mount_watch_visit(note_mount, &look);
    if (r == 0 && look.result == 0)
        pass_on(m, &look, begin);
    else
        atomic_store(&m->is_new, true);
    if (look.is_cut && !m->was_cut)
        log_warn("too many parts of volumes are mounted; the others do not follow updates",
                 "maximum", LOG_NUM(MOUNTED_PARTS_MAX));
    m->was_cut = look.is_cut;
    return PAUSE + (clock_mono() - begin) * (SHARE - 1);
}

/* ---- the thread */

/* @mountinfo_fd: polls as an error once when mounts have changed; negative to not be asked */
static bool wait_for_change(struct mount_monitor *m, int mountinfo_fd, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = m->wake_fd, .events = POLLIN},
                           {.fd = mountinfo_fd, .events = POLLPRI}};
    eventfd_t count;

    poll(fds, ELEMENTS_OF(fds), timeout_ms);
    if ((fds[0].revents & POLLIN) != 0)
        eventfd_read(m->wake_fd, &count);
    return (fds[1].revents & MOUNT_WATCH_EVENTS) != 0;
}

static void *monitor_main(void *userdata)
{
    struct mount_monitor *m = userdata;
    _cleanup_(fd_closep) int fd = mount_watch_open();
    mono_us next = 0;
    bool has_changed = true;

    pthread_setname_np(pthread_self(), "mount-monitor");
    while (!atomic_load(&m->is_stopping)) {
        bool is_requested = atomic_exchange(&m->is_requested, false);
        mono_us now = clock_mono(); /* after the request that it answers */

        has_changed |= atomic_exchange(&m->is_new, false);
        if (!has_changed && is_requested) {
            has_changed = wait_for_change(m, fd, 0);
            if (!has_changed)
                atomic_store(&m->seen_at, now);
            continue;
        }
        if (has_changed && now >= next) {
            has_changed = false;
            next = clock_mono() + look_at_mounts(m);
            continue;
        }
        has_changed |= wait_for_change(m, has_changed ? -1 : fd,
                                       has_changed ? (int)((next - now) / 1000 + 1) : -1);
    }
    return NULL;
}

int mount_monitor_new(struct mount_monitor **ret_monitor, struct error *e)
{
    struct mount_monitor *m = calloc(1, sizeof(*m));
    pthread_attr_t attr;
    int r;

    if (m == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the mount monitor");
    pthread_mutex_init(&m->lock, NULL);
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake_fd < 0) {
        r = negative_errno();
        free(m);
        return error_set_errno(e, r, "cannot start the mount monitor");
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    r = pthread_create(&m->thread, &attr, monitor_main, m);
    pthread_attr_destroy(&attr);
    if (r != 0) {
        fd_close(m->wake_fd);
        free(m);
        return error_set_errno(e, -r, "cannot start the mount monitor's thread");
    }
    *ret_monitor = m;
    return 0;
}

struct mount_monitor *mount_monitor_free(struct mount_monitor *monitor)
{
    if (monitor == NULL)
        return NULL;
    atomic_store(&monitor->is_stopping, true);
    eventfd_write(monitor->wake_fd, 1);
    pthread_join(monitor->thread, NULL);
    pthread_mutex_destroy(&monitor->lock);
    fd_close(monitor->wake_fd);
    free(monitor);
    return NULL;
}

/* ---- watches */

/* The first place that holds @watch, or NULL. Return: whether there was one. */
static bool replace(struct mount_monitor *m, const struct mount_subscription *watch,
                    struct mount_subscription *by)
{
    bool is_found = false;

    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < WATCHES_MAX && !is_found; i++) {
        is_found = m->watches[i] == watch;
        if (is_found)
            m->watches[i] = by;
    }
    pthread_mutex_unlock(&m->lock);
    return is_found;
}

int mount_subscription_new(struct mount_monitor *monitor, dev_t device, mount_scanned_fn *seen,
                           void *userdata, struct mount_subscription **ret_watch)
{
    struct mount_subscription *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return -ENOMEM;
    *w = (struct mount_subscription){
        .monitor = monitor, .device = device, .seen = seen, .userdata = userdata};
    if (!replace(monitor, NULL, w)) {
        free(w);
        return -EMFILE;
    }
    mount_subscription_rescan(w);
    *ret_watch = w;
    return 0;
}

struct mount_subscription *mount_subscription_free(struct mount_subscription *watch)
{
    if (watch == NULL)
        return NULL;
    replace(watch->monitor, watch, NULL);
    mounted_parts_deinit(&watch->mounts);
    free(watch);
    return NULL;
}

bool mount_subscription_take(struct mount_subscription *watch, struct mounted_parts *ret_mounts)
{
    bool has;

    pthread_mutex_lock(&watch->monitor->lock);
    has = watch->has_mounts;
    if (has) {
        *ret_mounts = watch->mounts;
        watch->mounts = (struct mounted_parts){0};
        watch->has_mounts = false;
    }
    pthread_mutex_unlock(&watch->monitor->lock);
    return has;
}

mono_us mount_subscription_scanned_at(const struct mount_subscription *watch)
{
    return atomic_load(&watch->monitor->seen_at);
}

void mount_subscription_request_scan(struct mount_subscription *watch)
{
    atomic_store(&watch->monitor->is_requested, true);
    eventfd_write(watch->monitor->wake_fd, 1);
}

void mount_subscription_rescan(struct mount_subscription *watch)
{
    atomic_store(&watch->monitor->is_new, true);
    mount_subscription_request_scan(watch);
}

int mount_subscription_fd(const struct mount_subscription *watch)
{
    return watch->monitor->wake_fd;
}
