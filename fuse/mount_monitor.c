/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread scans mountinfo when the kernel reports that mounts have changed, or on request. It
 * spends a tenth of the time on that at most, so that no number of mounts delays anything but
 * the next scan. Mounts of other namespaces are not in it and cost nothing.
 *
 *  - A subscriber is notified of a result before the time of the scan is published: a thread that
 *    reads the time has been notified of all that the scan found.
 *  - A request is answered without a scan if mounts have not changed since the last one. Then the
 *    time alone is published.
 *  - A subscription that is made during a scan does not get its result. It has requested one of
 *    its own.
 *  - A mount that is there all the time is in a scan also when others come and go meanwhile:
 *    between two reads the kernel goes on behind the mount that it has shown last, by its id (Linux
 *    6.8) or by a place of its own in the list (5.8). So what a scan lacks is not mounted.
 *  - A scan that fails when out of memory leaves the last result, and is repeated.
 */
#include "fuse/mount_monitor.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "fuse/mount_watch.h"

#define STACK_BYTES 131072u    /* the least that arm64 allows */
#define SHARE       10         /* one part in so many of the time is spent on scans, at most */
#define PAUSE       SPAN_MS(1) /* between two scans, however short they are */

/*
 * For each file system: far more than a node has pods and subPaths. Mounts past these do not follow
 * updates; it takes root on this host to make them.
 */
#define MOUNTED_PARTS_MAX 65536

#define SUBSCRIPTIONS_MAX 4 /* file systems of one process: two of a node */

struct mount_subscription {
    struct mount_monitor *monitor;
    dev_t device;
    mount_scanned_fn *scanned;
    void *userdata;
    struct mounted_parts parts; /* of the last scan, if has_parts: it was not taken yet */
    bool has_parts;
};

struct mount_monitor {
    pthread_t thread;
    int wake_fd;               /* eventfd */
    atomic_bool is_requested;  /* a scan, if mounts have changed */
    atomic_bool is_rescan_due; /* a scan in any case */
    atomic_bool is_stopping;
    atomic_uint_least64_t scanned_at;
    bool was_cut; /* the last scan, and that was logged; the thread's */

    pthread_mutex_t lock; /* what follows, and all subscriptions */
    struct mount_subscription *subscriptions[SUBSCRIPTIONS_MAX];
};

void mounted_parts_deinit(struct mounted_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++)
        free(parts->roots[i]);
    free(parts->roots);
    *parts = (struct mounted_parts){0};
}

/* ---- a scan */

/* Parts of a volume are below a generation or below the directory of live files, see
 * live_mounts.c. */
static bool is_part(const char *root)
{
    return strstr(root, "/.") != NULL;
}

static int add(struct mounted_parts *parts, const char *root)
{
    char *copy;

    if ((parts->n & (parts->n - 1)) == 0) { /* a power of two is full */
        char **roots = reallocarray(parts->roots, parts->n == 0 ? 1 : parts->n * 2, sizeof(*roots));

        if (roots == NULL)
            return -ENOMEM;
        parts->roots = roots;
    }
    copy = strdup(root);
    if (copy == NULL)
        return -ENOMEM;
    parts->roots[parts->n++] = copy;
    return 0;
}

struct scan {
    struct {
        dev_t device; /* 0: none */
        struct mounted_parts parts;
    } parts_of[SUBSCRIPTIONS_MAX];
    bool is_cut;
    int result;
};

static bool add_mount(void *userdata, const struct mountinfo *mount)
{
    struct scan *scan = userdata;

    if (!is_part(mount->root))
        return true;
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        if (scan->parts_of[i].device != mount->device)
            continue;
        if (scan->parts_of[i].parts.n < MOUNTED_PARTS_MAX)
            scan->result = add(&scan->parts_of[i].parts, mount->root);
        else
            scan->is_cut = true;
    }
    return scan->result == 0;
}

static void scan_deinit(struct scan *scan)
{
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
        mounted_parts_deinit(&scan->parts_of[i].parts);
}

static void list_devices(struct mount_monitor *m, struct scan *scan)
{
    LOCK_GUARD(&m->lock);
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
        scan->parts_of[i].device = m->subscriptions[i] != NULL ? m->subscriptions[i]->device : 0;
}

static void deliver(struct mount_monitor *m, struct scan *scan, mono_us begin)
{
    LOCK_GUARD(&m->lock);
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        struct mount_subscription *sub = m->subscriptions[i];

        if (sub == NULL || sub->device != scan->parts_of[i].device)
            continue;
        mounted_parts_deinit(&sub->parts);
        sub->parts = scan->parts_of[i].parts;
        sub->parts.began_at = begin;
        scan->parts_of[i].parts = (struct mounted_parts){0};
        sub->has_parts = true;
        sub->scanned(sub->userdata);
    }
    atomic_store(&m->scanned_at, begin); /* last, see the top */
}

/* Return: how long not to scan again. */
static span_us scan_mounts(struct mount_monitor *m)
{
    _cleanup_(scan_deinit) struct scan scan = {.result = 0};
    mono_us begin;
    int r;

    atomic_store(&m->is_requested, false); /* before the time: a request after it is the next */
    begin = clock_mono();
    list_devices(m, &scan);
    r = mount_watch_visit(add_mount, &scan);
    if (r == 0 && scan.result == 0)
        deliver(m, &scan, begin);
    else
        atomic_store(&m->is_rescan_due, true);
    if (scan.is_cut && !m->was_cut)
        log_warn("too many parts of volumes are mounted; the others do not follow updates",
                 "maximum", LOG_NUM(MOUNTED_PARTS_MAX));
    m->was_cut = scan.is_cut;
    return PAUSE + (clock_mono() - begin) * (SHARE - 1);
}

/* ---- the thread */

/* @mountinfo_fd: -1 to ignore it. Return: whether it reported a change. */
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
    confinement_restrict_thread(CONFINEMENT_WORKER);
    while (!atomic_load(&m->is_stopping)) {
        bool is_requested = atomic_exchange(&m->is_requested, false);
        mono_us now = clock_mono(); /* after the request that it answers */

        has_changed |= atomic_exchange(&m->is_rescan_due, false);
        if (!has_changed && is_requested) {
            has_changed = wait_for_change(m, fd, 0);
            if (!has_changed)
                atomic_store(&m->scanned_at, now);
            continue;
        }
        if (has_changed && now >= next) {
            has_changed = false;
            next = clock_mono() + scan_mounts(m);
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
    r = thread_start(&m->thread, STACK_BYTES, monitor_main, m);
    if (r < 0) {
        fd_close(m->wake_fd);
        free(m);
        return error_set_errno(e, r, "cannot start the mount monitor's thread");
    }
    *ret_monitor = m;
    return 0;
}

struct mount_monitor *mount_monitor_free(struct mount_monitor *monitor)
{
    if (monitor == NULL)
        return NULL;
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++)
        assert(monitor->subscriptions[i] == NULL);
    atomic_store(&monitor->is_stopping, true);
    eventfd_write(monitor->wake_fd, 1);
    pthread_join(monitor->thread, NULL);
    pthread_mutex_destroy(&monitor->lock);
    fd_close(monitor->wake_fd);
    free(monitor);
    return NULL;
}

/* ---- subscriptions */

/* Replace the first slot that holds @old (NULL: a free one). Return: whether there was one. */
static bool replace(struct mount_monitor *m, const struct mount_subscription *old,
                    struct mount_subscription *new)
{
    LOCK_GUARD(&m->lock);
    for (size_t i = 0; i < SUBSCRIPTIONS_MAX; i++) {
        if (m->subscriptions[i] != old)
            continue;
        m->subscriptions[i] = new;
        return true;
    }
    return false;
}

int mount_subscription_new(struct mount_monitor *monitor, dev_t device, mount_scanned_fn *scanned,
                           void *userdata, struct mount_subscription **ret_subscription)
{
    struct mount_subscription *sub = calloc(1, sizeof(*sub));

    if (sub == NULL)
        return -ENOMEM;
    *sub = (struct mount_subscription){
        .monitor = monitor, .device = device, .scanned = scanned, .userdata = userdata};
    if (!replace(monitor, NULL, sub)) {
        free(sub);
        return -EMFILE;
    }
    mount_subscription_rescan(sub);
    *ret_subscription = sub;
    return 0;
}

struct mount_subscription *mount_subscription_free(struct mount_subscription *subscription)
{
    bool was_there;

    if (subscription == NULL)
        return NULL;
    was_there = replace(subscription->monitor, subscription, NULL);
    assert(was_there);
    mounted_parts_deinit(&subscription->parts);
    free(subscription);
    return NULL;
}

bool mount_subscription_take(struct mount_subscription *subscription,
                             struct mounted_parts *ret_parts)
{
    LOCK_GUARD(&subscription->monitor->lock);
    if (!subscription->has_parts)
        return false;
    *ret_parts = subscription->parts;
    subscription->parts = (struct mounted_parts){0};
    subscription->has_parts = false;
    return true;
}

mono_us mount_subscription_scanned_at(const struct mount_subscription *subscription)
{
    return atomic_load(&subscription->monitor->scanned_at);
}

void mount_subscription_request_scan(struct mount_subscription *subscription)
{
    atomic_store(&subscription->monitor->is_requested, true);
    eventfd_write(subscription->monitor->wake_fd, 1);
}

void mount_subscription_rescan(struct mount_subscription *subscription)
{
    atomic_store(&subscription->monitor->is_rescan_due, true);
    mount_subscription_request_scan(subscription);
}

int mount_subscription_fd(const struct mount_subscription *subscription)
{
    return subscription->monitor->wake_fd;
}
