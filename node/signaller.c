/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread has CAP_KILL, which the privileged thread hands on, and no other capability. It may
 * not mount, connect, run programs or change files, and starts no sooner than a volume needs it. It
 * reads texts of /proc and names below /sys/fs/cgroup, and opens nothing that a process provides.
 */
#include "node/signaller.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/job_thread.h"

struct order {
    struct job job;
    uint64_t owner;
    struct pod_signal signal;
    struct pod_signal_result result; /* once it is done */
};

struct signaller {
    signaller_done_fn *done;
    void *userdata;
    struct job_thread *thread;
};

static struct order *order_of(struct job *job)
{
    return CONTAINER_OF(job, struct order, job);
}

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

/* ---- orders */

static void send_order(struct job *job)
{
    struct order *order = order_of(job);

    pod_signal_send(&order->signal, &kernel, &order->result);
}

static void free_order(struct job *job_consumed)
{
    free(order_of(job_consumed));
}

static void on_done(void *userdata, struct job *job_consumed)
{
    struct order *order = order_of(job_consumed);
    const struct signaller *s = userdata;

    s->done(s->userdata, order->owner, &order->signal, &order->result);
    free(order);
}

static const struct job_kind orders = {.name = "signaller",
                                       .confinement = CONFINEMENT_SIGNALLER,
                                       .is_privileged = true,
                                       .run = send_order,
                                       .done = on_done,
                                       .free = free_order};

int signaller_send(struct signaller *signaller, uint64_t owner, const struct pod_signal *signal,
                   struct error *e)
{
    struct order *order = calloc(1, sizeof(*order));
    int r = -ENOMEM;

    if (order != NULL) {
        order->owner = owner;
        order->signal = *signal;
        r = job_thread_add(signaller->thread, &order->job);
    }
    if (r == 0)
        return 0;
    free(order);
    return error_set_errno(e, r, "cannot start a thread that sends signals");
}

/* ---- the object */

int signaller_new(sd_event *event, signaller_done_fn *done, void *userdata,
                  struct signaller **ret_signaller)
{
    _cleanup_(signaller_freep) struct signaller *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return -ENOMEM;
    s->done = done;
    s->userdata = userdata;
    r = job_thread_new(event, &orders, s, &s->thread);
    if (r < 0)
        return r;
    *ret_signaller = TAKE(s);
    return 0;
}

struct signaller *signaller_free(struct signaller *signaller)
{
    if (signaller == NULL)
        return NULL;
    if (signaller->thread != NULL)
        job_thread_finish(signaller->thread);
    job_thread_free(signaller->thread);
    free(signaller);
    return NULL;
}
