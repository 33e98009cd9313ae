/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per client: its parts are written one at a time, the next one when the last one was sent, so a
 * slow client costs one part of memory and never blocks the loop. After an empty line, which marks
 * the end, our side is shut down; the connection stays open until the client closes it or the
 * process ends, which is how `secretfs unmount` waits.
 *
 * A socket that is kept outlives the process: clients that connect meanwhile wait in its queue, and
 * the next process serves them, if the path still leads to it.
 *
 * The directory decides who can connect: its owner is checked, also of one that exists, as /tmp is
 * everyone's.
 */
#include "monitor/status_socket.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "monitor/local_socket.h"

#define CLIENTS_MAX 32 /* people and scripts that request the status of one mount at once */

/* A process without free descriptors tries again then. */
#define ACCEPT_PAUSE   SPAN_MS(200)
#define TIMER_ACCURACY SPAN_MS(10)

/* Abstract names of clients that request the debugging members begin with this. */
#define DEBUG_CLIENT "secretfs-status-debug-"

struct status_socket {
    struct sockaddr_un address;
    const struct kept_socket *keep; /* NULL: it ends with the process */
    sd_event_source *listening;
    sd_event_source *pause; /* of listening */
    status_write_fn *write;
    void *userdata;
    struct list clients;
    size_t n_clients;
};

struct client {
    struct list link;
    struct status_socket *status;
    sd_event_source *source;
    struct buf part;
    size_t n_sent; /* of the part */
    uint64_t cursor;
    bool has_more; /* parts to come */
    bool is_debug; /* its name begins with DEBUG_CLIENT */
};

/* ---- where the socket is */

static void directory_of(uid_t owner, char *path, size_t size)
{
    struct stat status;

    if (owner == 0) {
        snprintf(path, size, "/run/secretfs");
        return;
    }
    snprintf(path, size, "/run/user/%u", owner);
    if (stat(path, &status) == 0 && status.st_uid == owner)
        snprintf(path, size, "/run/user/%u/secretfs", owner);
    else
        snprintf(path, size, "/tmp/secretfs-%u", owner);
}

static void address_of(uid_t owner, dev_t device, struct sockaddr_un *ret_address)
{
    char directory[64];

    directory_of(owner, directory, sizeof(directory));
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_address->sun_path, sizeof(ret_address->sun_path), "%s/%u:%u.sock", directory,
             major(device), minor(device));
}

/* In /tmp another user may have created it: it must be ours and not writable for others. */
static int create_directory(struct error *e)
{
    char path[64];
    struct stat status;

    directory_of(geteuid(), path, sizeof(path));
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, negative_errno(), "cannot create the directory %s", path);
    if (lstat(path, &status) < 0)
        return error_set_errno(e, negative_errno(), "cannot check the directory %s", path);
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 0022) != 0)
        return error_set(e, -EPERM, "%s must be a directory that only its owner can write to",
                         path);
    return 0;
}

/* ---- the server */

static struct client *client_free(struct client *c)
{
    sd_event_source_disable_unref(c->source);
    buf_deinit(&c->part);
    list_remove(&c->link);
    assert(c->status->n_clients > 0);
    c->status->n_clients--;
    free(c);
    return NULL;
}

static int client_next_part(struct client *c)
{
    int r;

    buf_reset(&c->part);
    c->n_sent = 0;
    r = c->status->write(c->status->userdata, c->is_debug, &c->cursor, &c->part);
    c->has_more = r == STATUS_MORE;
    /* an empty line ends the document, so that a client notices when it was cut off */
    return r == 0 ? buf_add_text(&c->part, "\n") : r;
}

/* Return: 0; -errno when the connection is broken. */
static int client_send(struct client *c, int fd)
{
    ssize_t n = send(fd, c->part.data + c->n_sent, c->part.len - c->n_sent, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
    c->n_sent += (size_t)n;
    assert(c->n_sent <= c->part.len);
    if (c->n_sent < c->part.len)
        return 0;
    if (c->has_more)
        return client_next_part(c) < 0 ? -EIO : 0;
    /* the client sees the end of the document; it may keep the connection to see our end */
    shutdown(fd, SHUT_WR);
    sd_event_source_set_io_events(c->source, EPOLLRDHUP);
    return 0;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct client *c = userdata;

    if ((revents & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0 || client_send(c, fd) < 0)
        client_free(c);
    return 0;
}

static int client_new(struct status_socket *status, bool is_debug, int fd_consumed)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    struct client *c;
    int r;

    if (status->n_clients >= CLIENTS_MAX)
        return -EBUSY;
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->status = status;
    c->is_debug = is_debug;
    c->part = BUF_INIT(STATUS_PART_MAX);
    list_append(&status->clients, &c->link);
    status->n_clients++;
    r = client_next_part(c);
    if (r >= 0)
        r = sd_event_add_io(sd_event_source_get_event(status->listening), &c->source, fd,
                            EPOLLOUT | EPOLLRDHUP, on_client, c);
    if (r < 0) {
        client_free(c);
        return r;
    }
    sd_event_source_set_io_fd_own(c->source, true);
    (void)TAKE_FD(fd);
    return 0;
}

static bool is_debug_name(const struct sockaddr_un *address, socklen_t len)
{
    size_t begin = offsetof(struct sockaddr_un, sun_path) + 1, name_len = strlen(DEBUG_CLIENT);

    return len >= begin + name_len && address->sun_path[0] == '\0' &&
           memcmp(address->sun_path + 1, DEBUG_CLIENT, name_len) == 0;
}

static int on_pause_over(sd_event_source *source, uint64_t now, void *userdata)
{
    struct status_socket *status = userdata;

    return status->listening != NULL ? sd_event_source_set_enabled(status->listening, SD_EVENT_ON)
                                     : 0;
}

/* The connection stays in the queue, so the socket would wake the loop again at once. */
static int pause_listening(struct status_socket *status)
{
    log_debug("no descriptor for a connection, pausing", "socket", status->address.sun_path);
    if (sd_event_source_set_time_relative(status->pause, ACCEPT_PAUSE) < 0 ||
        sd_event_source_set_enabled(status->pause, SD_EVENT_ONESHOT) < 0)
        return 0;
    return sd_event_source_set_enabled(status->listening, SD_EVENT_OFF);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct sockaddr_un client = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(client);
    int client_fd = accept4(fd, (struct sockaddr *)&client, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r;

    if (client_fd < 0 &&
        (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
        return pause_listening(userdata);
    if (client_fd < 0)
        return 0;
    r = client_new(userdata, is_debug_name(&client, len), client_fd);
    if (r < 0)
        log_debug("cannot answer on the status socket", "error", strerror(-r));
    return 0;
}

/* The kernel names the process that has called listen(2) last as the peer of a client. */
static int take_over(const struct status_socket *status)
{
    struct stat file;
    int fd = lstat(status->address.sun_path, &file) == 0
                 ? kept_socket_take_file(status->keep, &file)
                 : -ENOENT;

    return fd >= 0 && listen(fd, CLIENTS_MAX) < 0 ? fd_close(fd) : fd;
}

/* The device number or the run directory is ours, so a socket there is a dead process'. */
static int listen_at(const struct status_socket *status, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat file;
    int r = local_socket_listen(&status->address, CLIENTS_MAX, &fd);

    if (r < 0)
        return r;
    if (lstat(status->address.sun_path, &file) < 0)
        return negative_errno();
    kept_socket_put_file(status->keep, &file, fd);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Return: 0; -errno: nothing is left to do but to free() it. */
static int start(struct status_socket *status, sd_event *event)
{
    int fd = take_over(status);
    int r = fd >= 0 ? 0 : listen_at(status, &fd);

    if (r < 0)
        return r;
    r = sd_event_add_io(event, &status->listening, fd, EPOLLIN, on_connection, status);
    if (r < 0) {
        fd_close(fd);
        kept_socket_remove(status->keep);
        return r;
    }
    sd_event_source_set_io_fd_own(status->listening, true);
    r = sd_event_add_time(event, &status->pause, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_pause_over,
                          status);
    return r < 0 ? r : sd_event_source_set_enabled(status->pause, SD_EVENT_OFF);
}

static int serve_at(sd_event *event, const struct sockaddr_un *address,
                    const struct kept_socket *keep, status_write_fn *write, void *userdata,
                    struct status_socket **ret_socket, struct error *e)
{
    _cleanup_(status_socket_freep) struct status_socket *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the status socket");
    c->address = *address;
    c->keep = keep;
    c->write = write;
    c->userdata = userdata;
    list_init(&c->clients);
    r = start(c, event);
    if (r < 0)
        return error_set_errno(e, r, "cannot create the status socket %s", c->address.sun_path);
    *ret_socket = TAKE(c);
    return 0;
}

int status_socket_new(sd_event *event, dev_t device, const struct kept_socket *keep,
                      status_write_fn *write, void *userdata, struct status_socket **ret_socket,
                      struct error *e)
{
    struct sockaddr_un address;
    int r = create_directory(e);

    if (r < 0)
        return r;
    address_of(geteuid(), device, &address);
    return serve_at(event, &address, keep, write, userdata, ret_socket, e);
}

int status_socket_new_at(sd_event *event, const char *path, const struct kept_socket *keep,
                         status_write_fn *write, void *userdata, struct status_socket **ret_socket,
                         struct error *e)
{
    struct sockaddr_un address;
    int r = local_socket_address(path, &address, e);

    return r < 0 ? r : serve_at(event, &address, keep, write, userdata, ret_socket, e);
}

void status_socket_close(struct status_socket *status)
{
    if (status == NULL || status->listening == NULL)
        return;
    status->listening = sd_event_source_disable_unref(status->listening);
    status->pause = sd_event_source_disable_unref(status->pause);
    if (kept_socket_is_left(status->keep))
        return;
    unlink(status->address.sun_path);
    kept_socket_remove(status->keep);
}

struct status_socket *status_socket_free(struct status_socket *status)
{
    struct client *c, *tmp;

    if (status == NULL)
        return NULL;
    status_socket_close(status);
    list_for_each_safe (c, tmp, &status->clients, link)
        client_free(c);
    free(status);
    return NULL;
}

/* ---- clients */

/* Return: 0 or -errno. */
static int bind_debug_name(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t random;
    int len;

    /* the network namespace may have several of our process ID, so a random number it is */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return negative_errno();
    len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s%016" PRIx64,
                   DEBUG_CLIENT, random);
    return bind(fd, (const struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0
               ? negative_errno()
               : 0;
}

/* Bound each connect(2) and read(2), which then fail with EAGAIN. */
static int set_timeout(int fd, unsigned timeout_ms)
{
    const struct timeval timeout = {.tv_sec = timeout_ms / 1000,
                                    .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};

    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
        return negative_errno();
    return 0;
}

pid_t status_socket_process(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 0 ? peer.pid : 0;
}

bool status_socket_has_ended(int fd)
{
    pid_t pid = status_socket_process(fd);
    _cleanup_(fd_closep) int process_fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    struct pollfd process = {.fd = process_fd, .events = POLLIN};

    if (pid == 0)
        return false;
    return process_fd < 0 ? errno == ESRCH : poll(&process, 1, 0) > 0;
}

/* The process is stopped, or its event loop hangs. @pid: 0 if unknown */
static int no_answer(pid_t pid, struct error *e)
{
    if (pid == 0)
        return error_set(e, -ETIMEDOUT,
                         "its process does not answer: it is stopped or hangs; continue it (kill "
                         "-CONT) or end it (kill -KILL), then unmount and mount again");
    return error_set(e, -ETIMEDOUT,
                     "process %d does not answer: it is stopped or hangs; continue it (kill -CONT "
                     "%d) or end it (kill -KILL %d), then unmount and mount again",
                     (int)pid, (int)pid, (int)pid);
}

int status_socket_connect_mount(const struct mount_entry *entry, bool is_debug, unsigned timeout_ms,
                                int *ret_fd, struct error *e)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int r;

    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot create a socket");
    r = set_timeout(fd, timeout_ms);
    if (r == 0 && is_debug)
        r = bind_debug_name(fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare a socket");
    address_of(entry->owner, entry->device, &address);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *ret_fd = TAKE_FD(fd);
        return 0;
    }
    if (errno == EAGAIN)
        return no_answer(0, e); /* the queue of connections that it has not accepted is full */
    if (errno == ENOENT || errno == ECONNREFUSED)
        return error_set(e, -ENOTCONN, "its process is dead; unmount and mount again");
    if (errno == EPERM || errno == EACCES)
        return error_set(e, -EACCES, "it belongs to user %u; run this as that user or as root",
                         entry->owner);
    return error_set_errno(e, negative_errno(), "cannot connect to its process");
}

/* For an answer of the kernel, or of a process that runs. */
#define SERVED_MS 500
/* For a killed child to end, if it can. */
#define KILLED_MS 100

/* The kernel knows that no process has the connection. Return: as exit status, 0: it has one. */
static int ask_kernel(const char *path)
{
    struct statfs status;

    return statfs(path, &status) < 0 && errno == ENOTCONN;
}

/* A process that hangs keeps statfs(2) waiting, so that a child calls it. */
bool status_socket_is_served(const char *path)
{
    struct pollfd ended = {.fd = -1, .events = POLLIN};
    pid_t child = fork();
    int status = 0;

    if (child == 0)
        _exit(ask_kernel(path));
    if (child > 0)
        ended.fd = pidfd_open(child, 0);
    if (ended.fd < 0)
        return false;
    if (poll(&ended, 1, SERVED_MS) <= 0) {
        kill(child, SIGKILL);
        poll(&ended, 1, KILLED_MS);
    }
    fd_close(ended.fd);
    return waitpid(child, &status, WNOHANG) != child || !WIFEXITED(status) ||
           WEXITSTATUS(status) == 0;
}

int status_socket_connect(const char *path, bool is_debug, int *ret_fd, struct error *e)
{
    struct error cause = ERROR_INIT;
    struct mount_entry entry;
    int r = mounts_find(path, &entry, e);

    if (r < 0)
        return r;
    r = status_socket_connect_mount(&entry, is_debug, STATUS_TIMEOUT_MS, ret_fd, &cause);
    if (r == -EACCES)
        return error_set(e, r,
                         "the mount at %s belongs to user %u; run this as that user or as root",
                         path, entry.owner);
    if (r == -ENOTCONN && status_socket_is_served(path))
        return error_set(e, r, "the mount at %.200s: " STATUS_SOCKET_MISSING, path);
    if (r == -ENOTCONN)
        return error_set(
            e, r,
            "the process of the mount at %s is dead; run `secretfs unmount %s` and mount again",
            path, path);
    return r < 0 ? error_set(e, r, "the mount at %.200s: %s", path, cause.text) : 0;
}

static int connect_failed(const char *path, int error, struct error *e)
{
    if (error == -EAGAIN)
        return error_set(e, -ETIMEDOUT, "cannot connect to %s: timeout", path);
    if (error == -ENOENT || error == -ECONNREFUSED)
        return error_set(e, error,
                         "cannot connect to %s: no node daemon runs there; start it, or name its "
                         "run directory with --run-dir",
                         path);
    return error_set_errno(e, error, "cannot connect to %s", path);
}

int status_socket_connect_path(const char *path, unsigned timeout_ms, int *ret_fd, struct error *e)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int r = local_socket_address(path, &address, e);

    if (r < 0)
        return r;
    r = fd >= 0 ? set_timeout(fd, timeout_ms) : negative_errno();
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return connect_failed(path, negative_errno(), e);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int status_socket_receive(int fd, struct buf *document, struct error *e)
{
    static const char end[] = "\n\n";
    size_t end_len = sizeof(end) - 1;
    int r = buf_read_fd(document, fd);

    if (r == -EAGAIN && status_socket_has_ended(fd))
        return error_set(e, -ETIMEDOUT,
                         "its process has ended, and its keeper has not started the next one: see "
                         "the log of the keeper; try again, or unmount and mount again");
    if (r == -EAGAIN)
        return no_answer(status_socket_process(fd), e);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the status");
    if (document->len == 0)
        return error_set(
            e, -EIO,
            "the process sent no status: it is stopping, or too many clients are connected");
    if (document->len < end_len ||
        memcmp(document->data + document->len - end_len, end, end_len) != 0)
        return error_set(e, -EIO, "the process ended the connection within its status; try again");
    return 0;
}
