/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop and thread share two lists under one lock:
 *
 *   waiting --(thread: takes, sends)--> done --(loop: done())--> freed
 *
 * The thread has CAP_KILL, which the privileged thread hands on, and no other capability. It may
 * not mount, connect, run programs or change files, and starts no sooner than a volume needs it. It
 * reads texts of /proc and names below /sys/fs/cgroup, and opens nothing that a process provides.
 */
#include "node/signaller.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confinement.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/privileged.h"
#include "base/thread.h"

#define STACK_BYTES (256u << 10)

struct order {
    struct list link; /* in waiting or done */
    uint64_t owner;
    struct pod_signal signal;
    struct pod_signal_result result; /* once it is done */
};

struct signaller {
    signaller_done_fn *done_fn;
    void *userdata;
    int done_fd; /* an eventfd, by which the thread wakes the loop */
    sd_event_source *done_source;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct list waiting, done;
    bool is_stopping;
};

/* ---- the kernel's files and calls */

static ssize_t read_file(void *userdata, const char *path, char *text, size_t size)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t len = 0;
    ssize_t n = 1;

    if (fd < 0)
        return negative_errno();
    while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return n < 0 ? negative_errno() : (ssize_t)len;
}

static int list_dirs(void *userdata, const char *path,
                     void (*visit)(void *userdata, const char *name, bool is_roots),
                     void *visit_userdata)
{
    _cleanup_(dir_closep) DIR *dir = opendir(path);
    const struct dirent *entry;
    struct stat status;

    if (dir == NULL)
        return negative_errno();
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
            fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        visit(visit_userdata, entry->d_name,
              status.st_uid == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0);
    }
    return 0;
}

static int open_process(void *userdata, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    return fd < 0 ? negative_errno() : fd;
}

static int send_signal(void *userdata, int process, int signal)
{
    return syscall(SYS_pidfd_send_signal, process, signal, NULL, 0) < 0 ? negative_errno() : 0;
}

static const struct pod_signal_system kernel = {
    .read = read_file, .list = list_dirs, .open_process = open_process, .send = send_signal};

/* ---- the thread */

/* Return: the next order, taken out; NULL: stop, none waits. */
static struct order *take_waiting(struct signaller *s)
{
    struct order *order;

    LOCK_GUARD(&s->lock);
    while (list_is_empty(&s->waiting) && !s->is_stopping)
        pthread_cond_wait(&s->changed, &s->lock);
    if (list_is_empty(&s->waiting))
        return NULL;
    order = list_entry(s->waiting.next, struct order, link);
    list_remove(&order->link);
    return order;
}

static void add_done(struct signaller *s, struct order *order)
{
    LOCK_GUARD(&s->lock);
    list_append(&s->done, &order->link);
    eventfd_write(s->done_fd, 1);
}

static void *signaller_main(void *userdata)
{
    struct signaller *s = userdata;
    struct order *order;

    pthread_setname_np(pthread_self(), "signaller");
    confinement_restrict_thread(CONFINEMENT_SIGNALLER);
    while ((order = take_waiting(s)) != NULL) {
        pod_signal_send(&order->signal, &kernel, &order->result);
        add_done(s, order);
    }
    return NULL;
}

/* By the privileged thread: a thread has the capabilities of the one that creates it. */
static int run_create(void *arguments)
{
    struct signaller *s = arguments;
    int r = thread_start(&s->thread, STACK_BYTES, signaller_main, s);

    s->has_thread = r == 0;
    return r;
}

/* ---- the loop */

/* Return: the next order that is done, taken out; NULL: none. */
static struct order *take_done(struct signaller *s)
{
    struct order *order = NULL;

    LOCK_GUARD(&s->lock);
    if (!list_is_empty(&s->done)) {
        order = list_entry(s->done.next, struct order, link);
        list_remove(&order->link);
    }
    return order;
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct signaller *s = userdata;
    struct order *order;
    eventfd_t count;

    eventfd_read(s->done_fd, &count);
    while ((order = take_done(s)) != NULL) {
        s->done_fn(s->userdata, order->owner, &order->signal, &order->result);
        free(order);
    }
    return 0;
}

int signaller_send(struct signaller *signaller, uint64_t owner, const struct pod_signal *signal,
                   struct error *e)
{
    struct order *order = calloc(1, sizeof(*order));
    int r = order != NULL ? 0 : -ENOMEM;

    if (r == 0 && !signaller->has_thread)
        r = privileged_call(run_create, signaller);
    if (r < 0) {
        free(order);
        return error_set_errno(e, r, "cannot start a thread that sends signals");
    }
    order->owner = owner;
    order->signal = *signal;
    list_init(&order->link);
    LOCK_GUARD(&signaller->lock);
    list_append(&signaller->waiting, &order->link);
    pthread_cond_signal(&signaller->changed);
    return 0;
}

/* ---- the object */

int signaller_new(sd_event *event, signaller_done_fn *done, void *userdata,
                  struct signaller **ret_signaller)
{
    _cleanup_(signaller_freep) struct signaller *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    list_init(&s->waiting);
    list_init(&s->done);
    s->done_fn = done;
    s->userdata = userdata;
    s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->done_fd < 0)
        return negative_errno();
    r = sd_event_add_io(event, &s->done_source, s->done_fd, EPOLLIN, on_done, s);
    if (r < 0)
        return r;
    *ret_signaller = TAKE(s);
    return 0;
}

static void stop_thread(struct signaller *s)
{
    {
        LOCK_GUARD(&s->lock);
        s->is_stopping = true;
        pthread_cond_signal(&s->changed);
    }
    if (s->has_thread)
        pthread_join(s->thread, NULL);
}

struct signaller *signaller_free(struct signaller *signaller)
{
    struct order *order;

    if (signaller == NULL)
        return NULL;
    stop_thread(signaller);
    while ((order = take_done(signaller)) != NULL)
        free(order);
    sd_event_source_disable_unref(signaller->done_source);
    fd_close(signaller->done_fd);
    pthread_cond_destroy(&signaller->changed);
    pthread_mutex_destroy(&signaller->lock);
    free(signaller);
    return NULL;
}
