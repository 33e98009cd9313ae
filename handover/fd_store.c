/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message is text, "FDSTORE=1\nFDNAME=x", with a descriptor beside it (SCM_RIGHTS). The kernel
 * holds both in the receiver's queue, so that what is sent survives the sender's death at once.
 *
 * The service manager hands descriptors over as 3, 4, ... with their names in LISTEN_FDNAMES. A
 * keeper behind a socket sends them in its first message, with the same variables as text:
 *
 *     secretfs                       keeper
 *        | connect                     |  serves one connection at a time: what an earlier process
 *        |                             |  stores, it stores before this one receives anything
 *        | <- LISTEN_FDS=2             |  with two descriptors
 *        |    LISTEN_FDNAMES=a:b       |
 *        | FDSTORE=1 FDNAME=c ->       |  with one descriptor
 *        | BARRIER=1 ->                |  with a pipe's write end, which the keeper closes
 *
 * While no keeper is connected, messages are dropped: the next keeper receives everything again.
 */
#include "handover/fd_store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <systemd/sd-daemon.h>

#include "base/descriptors.h"

#define NAMES_LEN_MAX ((size_t)FD_STORE_FDS_MAX * (FD_STORE_NAME_MAX + 1))
#define GREETING_MAX  (NAMES_LEN_MAX + 64) /* LISTEN_FDS=253 and two keys */
#define MESSAGE_MAX   (FD_STORE_NAME_MAX + 64)
#define SEND_TIMEOUT  SPAN_SEC(5) /* a keeper reads its queue in microseconds */

struct received {
    int fd; /* -1: taken */
    char *name;
};

struct fd_store {
    struct received *received; /* in the order of storing */
    size_t n_received;
    bool is_available;
    bool is_certain;     /* of the service manager */
    char *keeper_socket; /* NULL: the service manager keeps */
    int keeper_fd;       /* connection to the keeper's socket; -1: none */
    int pending_fd;      /* the next one, until the keeper responds; -1: none */
};

bool fd_store_has_keeper_socket(void)
{
    return getenv(FD_STORE_KEEPER_SOCKET_VARIABLE) != NULL;
}

bool fd_store_name_is_valid(const char *name)
{
    size_t len = 0;

    for (; name[len] != '\0'; len++)
        if (len == FD_STORE_NAME_MAX || name[len] < ' ' || name[len] > '~' || name[len] == ':')
            return false;
    return true;
}

/* ---- receiving */

/* The descriptor is the store's from here on, on failure too. */
static int add_received(struct fd_store *s, int consume_fd, const char *name)
{
    char *copy = strdup(name);

    if (copy == NULL) {
        fd_close(consume_fd);
        return -ENOMEM;
    }
    s->received[s->n_received++] = (struct received){.fd = consume_fd, .name = copy};
    return 0;
}

static void free_names(char **names)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        free(names[i]);
    free(names);
}

static int add_all_received(struct fd_store *s, size_t n, char *const *names)
{
    int r = 0;

    s->received = calloc(n + 1, sizeof(*s->received));
    if (s->received == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n && r == 0; i++)
        r = add_received(s, SD_LISTEN_FDS_START + (int)i, names[i]);
    return r;
}

/* sd_listen_fds_with_names() removes the variables, on failure too. */
static int receive_from_service_manager(struct fd_store *s, struct error *e)
{
    const char *limit = getenv("FDSTORE");
    char **names = NULL;
    int n, r;

    s->is_available = getenv("NOTIFY_SOCKET") != NULL && (limit == NULL || !streq(limit, "0"));
    s->is_certain = s->is_available && limit != NULL;
    n = sd_listen_fds_with_names(true, &names);
    if (n < 0)
        return error_set_errno(e, n,
                               "invalid LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES in the "
                               "environment, or a descriptor that they name is not open");
    r = add_all_received(s, (size_t)n, names);
    free_names(names);
    return r;
}

static struct timeval timeval_of(span_us span)
{
    return (struct timeval){.tv_sec = (time_t)(span / SPAN_SEC(1)),
                            .tv_usec = (suseconds_t)(span % SPAN_SEC(1))};
}

static int connect_to_socket(const char *path, int *ret_fd, struct error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    const struct timeval send_timeout = timeval_of(SEND_TIMEOUT);

    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot make a socket");
    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(e, -ENAMETOOLONG,
                         "keeper socket \"%s\": the path has more than %zu characters", path,
                         sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path));
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout)) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return error_set_errno(e, negative_errno(), "cannot connect to the keeper at \"%s\"", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* The keeper receives every mount: it must be root's, or this user's. */
static int check_keeper(int fd, const char *path, struct error *e)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return error_set_errno(e, negative_errno(), "cannot learn who listens on \"%s\"", path);
    if (peer.uid != 0 && peer.uid != geteuid())
        return error_set(e, -EACCES,
                         "keeper socket \"%s\" belongs to uid %u; only root's and this user's "
                         "keeper is accepted",
                         path, peer.uid);
    return 0;
}

static int connect_to_keeper(const char *path, int *ret_fd, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    int r = connect_to_socket(path, &fd, e);

    if (r == 0)
        r = check_keeper(fd, path, e);
    if (r == 0)
        *ret_fd = TAKE_FD(fd);
    return r;
}

struct greeting {
    char text[GREETING_MAX + 1];
    int fds[FD_STORE_FDS_MAX];
    size_t n_fds;
};

/* @flags: of recvmsg(2). Return: 0; -EAGAIN with MSG_DONTWAIT; -errno. */
static int receive_message(int fd, int flags, struct greeting *g)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * FD_STORE_FDS_MAX)];
    } control;
    struct iovec text = {.iov_base = g->text, .iov_len = GREETING_MAX};
    struct msghdr message = {.msg_iov = &text,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t len;

    do
        len = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | flags);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return negative_errno();
    if (len == 0)
        return -ECONNRESET;
    g->text[len] = '\0';
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            g->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(g->fds, CMSG_DATA(c), g->n_fds * sizeof(int));
        }
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return -EPROTO;
    return 0;
}

static void close_greeting(struct greeting *g)
{
    for (size_t i = 0; i < g->n_fds; i++)
        g->fds[i] = fd_close(g->fds[i]);
}

/* As many names as descriptors, separated by ":". */
static int add_greeting(struct fd_store *s, struct greeting *g)
{
    char *rest = strstr(g->text, "\nLISTEN_FDNAMES="), *name;
    const char *count = str_after(g->text, "LISTEN_FDS=");
    size_t n = 0;
    int r = 0;

    s->received = calloc(g->n_fds + 1, sizeof(*s->received));
    if (s->received == NULL)
        return -ENOMEM;
    if (count == NULL || rest == NULL || strtoul(count, NULL, 10) != g->n_fds)
        return -EPROTO;
    rest += strlen("\nLISTEN_FDNAMES=");
    while (r == 0 && n < g->n_fds && (name = strsep(&rest, ":")) != NULL) {
        if (!fd_store_name_is_valid(name))
            return -EPROTO;
        r = add_received(s, TAKE_FD(g->fds[n++]), name);
    }
    return r < 0 ? r : n < g->n_fds || (rest != NULL && *rest != '\0') ? -EPROTO : 0;
}

/* Return: as receive_message(), 0 with *ret_greeting, the caller's; -EAGAIN without @e. */
static int receive_greeting(int fd, const char *path, int flags, struct greeting **ret_greeting,
                            struct error *e)
{
    _cleanup_(freep) struct greeting *g = calloc(1, sizeof(*g));
    int r = g != NULL ? receive_message(fd, flags, g) : -ENOMEM;

    if (r < 0 && g != NULL)
        close_greeting(g);
    if (r < 0 && r != -EAGAIN)
        error_set_errno(e, r, "the keeper at \"%s\" does not respond as one", path);
    if (r == 0)
        *ret_greeting = TAKE(g);
    return r;
}

/* It does not run yet, or has ended while this process waited for its turn. */
static bool is_absent(int r)
{
    return r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET;
}

static int receive_from_keeper(struct fd_store *s, const char *path, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    struct greeting *g = NULL;
    int r;

    s->keeper_socket = strdup(path);
    if (s->keeper_socket == NULL)
        return -ENOMEM;
    s->is_available = true;
    r = connect_to_keeper(path, &fd, e);
    if (r == 0)
        r = receive_greeting(fd, path, 0, &g, e);
    if (is_absent(r)) {
        *e = ERROR_INIT;
        return 0;
    }
    if (r != 0)
        return r;
    s->keeper_fd = TAKE_FD(fd);
    r = add_greeting(s, g);
    close_greeting(g);
    free(g);
    return r < 0 ? error_set_errno(e, r, "the keeper at \"%s\" does not respond as one", path) : 0;
}

bool fd_store_is_behind_socket(const struct fd_store *store)
{
    return store->keeper_socket != NULL;
}

int fd_store_peek_fd(const struct fd_store *store)
{
    return store->keeper_fd;
}

int fd_store_reconnect(struct fd_store *store, int *ret_fd, struct error *e)
{
    const char *path = store->keeper_socket;
    struct greeting *g = NULL;
    int r = 0;

    assert(path != NULL);
    if (store->pending_fd < 0)
        r = connect_to_keeper(path, &store->pending_fd, e);
    if (r < 0)
        return r;
    r = receive_greeting(store->pending_fd, path, MSG_DONTWAIT, &g, e);
    if (r == -EAGAIN) {
        *ret_fd = store->pending_fd;
        return FD_STORE_WAITS;
    }
    if (r < 0) {
        store->pending_fd = fd_close(store->pending_fd);
        return r;
    }
    close_greeting(g);
    free(g);
    fd_close(store->keeper_fd);
    store->keeper_fd = TAKE_FD(store->pending_fd);
    return 0;
}

int fd_store_new(const char *keeper_socket, struct fd_store **ret_store, struct error *e)
{
    _cleanup_(fd_store_freep) struct fd_store *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return -ENOMEM;
    s->keeper_fd = s->pending_fd = -1;
    if (keeper_socket == NULL)
        keeper_socket = getenv(FD_STORE_KEEPER_SOCKET_VARIABLE);
    if (keeper_socket != NULL)
        r = receive_from_keeper(s, keeper_socket, e);
    else
        r = receive_from_service_manager(s, e);
    unsetenv(FD_STORE_KEEPER_SOCKET_VARIABLE);
    if (r < 0)
        return r;
    *ret_store = TAKE(s);
    return 0;
}

bool fd_store_is_available(const struct fd_store *store)
{
    return store->is_available;
}

/* Nothing is asked for: only a hang-up is reported. */
static bool is_connected(const struct fd_store *s)
{
    struct pollfd polled = {.fd = s->keeper_fd};

    return s->keeper_fd >= 0 && poll(&polled, 1, 0) == 0;
}

bool fd_store_is_certain(const struct fd_store *store)
{
    return store->keeper_socket != NULL ? is_connected(store) : store->is_certain;
}

int fd_store_take(struct fd_store *store, const char *name)
{
    for (size_t i = 0; i < store->n_received; i++)
        if (store->received[i].fd >= 0 && streq(store->received[i].name, name))
            return TAKE_FD(store->received[i].fd);
    return -ENOENT;
}

const char *fd_store_peek_name(const struct fd_store *store, size_t index)
{
    for (size_t i = 0; i < store->n_received; i++)
        if (store->received[i].fd >= 0 && index-- == 0)
            return store->received[i].name;
    return NULL;
}

/* ---- sending */

/* Return: 0, also without a keeper, or if it has ended; -errno. */
static int send_if_connected(const struct fd_store *s, const char *text, int fd)
{
    int r = s->keeper_fd >= 0 ? descriptors_send(s->keeper_fd, text, fd) : 0;

    return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/* @fd: -1: none */
static int send_message(struct fd_store *s, const char *text, int fd)
{
    int r;

    if (s->keeper_socket != NULL)
        return send_if_connected(s, text, fd);
    r = sd_pid_notify_with_fds(0, false, text, &fd, fd >= 0);
    return r < 0 ? r : 0;
}

int fd_store_put(struct fd_store *store, const char *name, int fd, enum fd_store_until until,
                 struct error *e)
{
    char text[MESSAGE_MAX];
    int r;

    assert(fd_store_name_is_valid(name) && fd >= 0);
    if (!store->is_available)
        return 0;
    snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s%s", name,
             until == FD_STORE_UNTIL_HANGUP ? "" : "\nFDPOLL=0");
    r = send_message(store, text, fd);
    return r < 0 ? error_set_errno(e, r, "cannot store descriptor \"%s\"", name) : 0;
}

int fd_store_remove(struct fd_store *store, const char *name, struct error *e)
{
    char text[MESSAGE_MAX];
    int r;

    assert(fd_store_name_is_valid(name));
    if (!store->is_available)
        return 0;
    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    r = send_message(store, text, -1);
    return r < 0 ? error_set_errno(e, r, "cannot remove stored descriptor \"%s\"", name) : 0;
}

/* Wait for the other end of a pipe to be closed. */
static int wait_closed(int fd, span_us timeout)
{
    mono_us end = timeout == SPAN_FOREVER ? SPAN_FOREVER : clock_mono() + timeout;
    struct pollfd polled = {.fd = fd};

    for (;;) {
        mono_us now = clock_mono();
        span_us left = now < end ? end - now : 0;
        const struct timespec t = clock_timespec(left);
        int n = ppoll(&polled, 1, timeout == SPAN_FOREVER ? NULL : &t, NULL);

        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return negative_errno();
    }
}

int fd_store_sync(struct fd_store *store, span_us timeout, struct error *e)
{
    _cleanup_(fd_closep) int read_end = -1;
    int ends[2], r;

    if (!store->is_available)
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(e, negative_errno(), "cannot make a pipe");
    read_end = ends[0];
    r = send_message(store, "BARRIER=1", ends[1]);
    fd_close(ends[1]);
    if (r == 0)
        r = wait_closed(read_end, timeout);
    return r < 0 ? error_set_errno(e, r,
                                   "the keeper of descriptors has not confirmed what was stored")
                 : 0;
}

struct fd_store *fd_store_free(struct fd_store *store)
{
    if (store == NULL)
        return NULL;
    for (size_t i = 0; i < store->n_received; i++) {
        fd_close(store->received[i].fd);
        free(store->received[i].name);
    }
    free(store->received);
    fd_close(store->keeper_fd);
    fd_close(store->pending_fd);
    free(store->keeper_socket);
    free(store);
    return NULL;
}
