/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a whole file system are read, as a reader may open a file of a new generation
 * before that generation could be marked. An event's descriptor is opened here, for which the
 * kernel queues nothing.
 */
#include "cmd/observe/opens.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumers/process.h"

#ifndef FAN_REPORT_PIDFD
#define FAN_REPORT_PIDFD          0x00000080 /* Linux 5.15 */
#define FAN_EVENT_INFO_TYPE_PIDFD 4
#endif

#define EVENTS_BYTES 8192u

int opens_init(struct opens *opens, struct error *e)
{
    opens->n_writers = opens->n_pending = 0;
    opens->has_lost = false;
    opens->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_PIDFD,
                              O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return opens->fd < 0 ? error_set_errno(e, negative_errno(), "cannot see who opens files") : 0;
}

void opens_deinit(struct opens *opens)
{
    opens->fd = fd_close(opens->fd);
}

int opens_add(struct opens *opens, const char *path, struct error *e)
{
    if (fanotify_mark(opens->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN | FAN_CLOSE_WRITE,
                      AT_FDCWD, path) < 0)
        return error_set_errno(e, negative_errno(), "cannot see who opens files of %s", path);
    return 0;
}

bool opens_is_writer(const struct opens *opens, pid_t pid)
{
    for (size_t i = 0; i < opens->n_writers; i++)
        if (opens->writers[i] == pid)
            return true;
    return false;
}

static void note_writer(struct opens *opens, pid_t pid)
{
    if (!opens_is_writer(opens, pid) && opens->n_writers < OPENS_WRITERS_MAX)
        opens->writers[opens->n_writers++] = pid;
}

static void note_open(struct opens *opens, int fd, pid_t pid, int pidfd)
{
    struct opened opened = {.at = clock_mono(), .time = clock_wall()};
    struct stat status;

    if (pidfd < 0 || !process_identify(pid, pidfd, &opened.identity)) {
        opened.identity = (struct consumer_identity){.process.has_ended = true};
        opened.identity.process.pid = pid;
    }
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return;
    opened.device = status.st_dev;
    opened.inode = status.st_ino;
    if (opens->n_pending < OPENS_PENDING_MAX)
        opens->pending[opens->n_pending++] = opened;
    else
        opens->has_lost = true;
}

static void on_event(struct opens *opens, const struct fanotify_event_metadata *event)
{
    _cleanup_(fd_closep) int fd = event->fd;
    _cleanup_(fd_closep) int pidfd = process_event_pidfd(event);

    if ((event->mask & FAN_Q_OVERFLOW) != 0 || fd < 0) {
        opens->has_lost = true;
        return;
    }
    if (event->pid == getpid())
        return;
    if ((event->mask & FAN_CLOSE_WRITE) != 0)
        note_writer(opens, event->pid);
    if ((event->mask & FAN_OPEN) != 0)
        note_open(opens, fd, event->pid, pidfd);
}

void opens_read(struct opens *opens)
{
    _Alignas(struct fanotify_event_metadata) char buf[EVENTS_BYTES];
    ssize_t n;

    while ((n = read(opens->fd, buf, sizeof(buf))) > 0) {
        struct fanotify_event_metadata *event = (void *)buf;

        for (; FAN_EVENT_OK(event, n); event = FAN_EVENT_NEXT(event, n))
            on_event(opens, event);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        opens->has_lost = true; /* such as EMFILE: the kernel has dropped the event */
}
